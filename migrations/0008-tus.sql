-- What the tus protocol asks to be remembered of an upload beside its session.
CREATE TABLE tus_uploads (
  session   text COLLATE "C" PRIMARY KEY REFERENCES sessions (id) ON DELETE CASCADE,
  -- Upload-Metadata as its client wrote it.
  metadata  text,
  -- Bytes in all; null until its client says.
  length    bigint,
  -- Upload-Concat: `partial`, or `final;` and the partial uploads.
  concat    text,
  -- Rises with each request that sends: only the newest may say what is there.
  writer    bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 70);
