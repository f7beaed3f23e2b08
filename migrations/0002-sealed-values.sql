-- Values that must not stand in a workflow's history, such as presigned addresses; encrypted with a key that is not here.
CREATE TABLE sealed_values (
  id          uuid PRIMARY KEY,
  purpose     text NOT NULL,
  ciphertext  bytea NOT NULL,
  nonce       bytea NOT NULL,
  key_id      text NOT NULL,
  created_at  timestamptz(3) NOT NULL DEFAULT now(),
  expires_at  timestamptz(3) NOT NULL
);

CREATE INDEX sealed_values_expiry ON sealed_values (expires_at);
