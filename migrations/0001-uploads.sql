-- A projection of object uploads for lists and searches; the workflow is the truth while it runs.
-- Times have milliseconds, as ISO strings in cursors do, so that a page neither repeats nor skips a row.
CREATE TABLE object_uploads (
  id              text COLLATE "C" PRIMARY KEY,
  workflow_id     text NOT NULL,
  run_id          text NOT NULL,
  run_started_at  timestamptz(3) NOT NULL,
  sequence        bigint NOT NULL,
  installation    text NOT NULL,
  bucket          text NOT NULL,
  key             text COLLATE "C" NOT NULL,
  source_kind     text NOT NULL,
  source_label    text NOT NULL,
  state           text NOT NULL CHECK (
    state IN ('PENDING', 'UPLOADING', 'PAUSED', 'BLOCKED', 'COMPLETED', 'FAILED', 'CANCELLED')
  ),
  size            bigint CHECK (size >= 0),
  part_size       bigint,
  parts           integer,
  generations     integer,
  s3_upload_id    text,
  bytes_sent      bigint,
  checksum        text,
  verification    text,
  etag            text,
  version_id      text,
  attempts        integer NOT NULL DEFAULT 1,
  failure_code    text,
  failure_reason  text,
  failure_hint    text,
  failure_op      text,
  failure_key     text,
  created_at      timestamptz(3) NOT NULL,
  started_at      timestamptz(3),
  finished_at     timestamptz(3),
  updated_at      timestamptz(3) NOT NULL DEFAULT now()
) WITH (fillfactor = 80);

CREATE INDEX object_uploads_newest ON object_uploads (created_at DESC, id DESC);
CREATE INDEX object_uploads_by_state ON object_uploads (state, created_at DESC, id DESC);
CREATE INDEX object_uploads_by_bucket ON object_uploads (bucket, created_at DESC, id DESC);
CREATE INDEX object_uploads_by_key ON object_uploads (bucket, key);
CREATE INDEX object_uploads_to_sweep ON object_uploads (installation, updated_at)
  WHERE s3_upload_id IS NOT NULL AND state NOT IN ('COMPLETED', 'FAILED', 'CANCELLED');
