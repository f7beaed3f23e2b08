-- Customers' keys (SSE-C) while an upload needs them; wrapped by a key that is not here.
CREATE TABLE customer_keys (
  ref            uuid PRIMARY KEY,
  -- The only one that it opens for.
  upload         text COLLATE "C" NOT NULL,
  wrapped        bytea NOT NULL,
  -- Names the wrapping key.
  wrapped_under  text NOT NULL,
  -- base64: which key it is, not the key.
  key_md5        text NOT NULL,
  ttl_ms         bigint NOT NULL,
  created_at     timestamptz(3) NOT NULL DEFAULT now(),
  expires_at     timestamptz(3) NOT NULL
) WITH (fillfactor = 80);

CREATE INDEX customer_keys_by_upload ON customer_keys (upload);
CREATE INDEX customer_keys_expiry ON customer_keys (expires_at);

-- Who used which key, when, for what, and with what outcome. Stays when the key is gone.
CREATE TABLE key_uses (
  no       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  ref      uuid NOT NULL,
  upload   text COLLATE "C" NOT NULL,
  -- In S3's terms, or `seal`, `wipe`, `expire`.
  op       text NOT NULL,
  -- `ok`, or the code of the failure.
  outcome  text NOT NULL,
  at       timestamptz(3) NOT NULL DEFAULT now()
);

CREATE INDEX key_uses_by_upload ON key_uses (upload, no);

-- Of an answer that is kept: where that lies which it made, for that does not follow from the path that was asked.
ALTER TABLE idempotency_keys ADD COLUMN location text;
