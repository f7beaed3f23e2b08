-- Objects whose bytes a client brings. Their parts are the truth here, for lists do not belong in a workflow's history.
ALTER TABLE object_uploads DROP CONSTRAINT object_uploads_state_check;
ALTER TABLE object_uploads ADD CONSTRAINT object_uploads_state_check CHECK (
  state IN ('PENDING', 'UPLOADING', 'PAUSED', 'BLOCKED', 'COMPLETED', 'FAILED', 'CANCELLED', 'EXPIRED')
);
DROP INDEX object_uploads_to_sweep;
CREATE INDEX object_uploads_to_sweep ON object_uploads (installation, updated_at)
  WHERE s3_upload_id IS NOT NULL AND state NOT IN ('COMPLETED', 'FAILED', 'CANCELLED', 'EXPIRED');

-- An object that somebody registered; each session that names it makes a version of it.
CREATE TABLE nodes (
  node_id          text COLLATE "C" PRIMARY KEY,
  connector_id     text COLLATE "C",
  name             text NOT NULL,
  content_type     text,
  bucket           text NOT NULL,
  key              text COLLATE "C" NOT NULL,
  status           text NOT NULL DEFAULT 'PENDING' CHECK (status IN ('PENDING', 'ACTIVE', 'FAILED', 'CANCELLED')),
  -- The session that made what is there now.
  upload_id        text COLLATE "C",
  s3_etag          text,
  size             bigint,
  version_id       text,
  checksum         text,
  encryption_type  text,
  kms_key_id       text,
  -- MD5 of the customer's key, base64: which key it is, not the key.
  customer_key_md5 text,
  created_at       timestamptz(3) NOT NULL DEFAULT now(),
  updated_at       timestamptz(3) NOT NULL DEFAULT now()
) WITH (fillfactor = 80);

CREATE INDEX nodes_by_connector ON nodes (connector_id, created_at DESC, node_id DESC) WHERE connector_id IS NOT NULL;
CREATE INDEX nodes_by_key ON nodes (bucket, key);

-- What a session is beside its row in object_uploads, which has its state, its failure and its result.
CREATE TABLE sessions (
  id             text COLLATE "C" PRIMARY KEY,
  node_id        text COLLATE "C" NOT NULL,
  connector_id   text COLLATE "C",
  name           text NOT NULL,
  content_type   text NOT NULL,
  metadata       jsonb NOT NULL DEFAULT '{}',
  bucket         text NOT NULL,
  key            text COLLATE "C" NOT NULL,
  mode           text NOT NULL CHECK (mode IN ('chunks', 'whole')),
  chunk_size     bigint NOT NULL,
  -- Null while unknown.
  expected_size  bigint,
  -- The multipart upload that takes chunks now; each generation begins with none.
  s3_upload_id   text,
  -- Rises with every multipart upload of this session, over all runs of its workflow.
  generation     integer NOT NULL,
  -- Which of its workflow's runs opened it, and with that run's how manieth multipart upload: a late attempt changes nothing.
  run_started_at timestamptz(3) NOT NULL,
  run_generation integer NOT NULL,
  nonce          text NOT NULL,
  -- Chunks are taken. False once it is being completed or has ended.
  open           boolean NOT NULL,
  begun          boolean NOT NULL DEFAULT false,
  encryption     jsonb,
  -- False: its multipart upload began without checksums, and parts bring none.
  checksums      boolean NOT NULL DEFAULT true,
  api_key        text,
  -- The client's last sign of life, not kept to the second.
  touched_at     timestamptz(3) NOT NULL DEFAULT now(),
  ttl_ms         bigint NOT NULL,
  created_at     timestamptz(3) NOT NULL DEFAULT now(),
  ended_at       timestamptz(3)
) WITH (fillfactor = 70);

CREATE INDEX sessions_newest ON sessions (created_at DESC, id DESC);
CREATE INDEX sessions_by_connector ON sessions (connector_id, created_at DESC, id DESC) WHERE connector_id IS NOT NULL;
CREATE INDEX sessions_by_node ON sessions (node_id);
CREATE INDEX sessions_live ON sessions (created_at DESC, id DESC) WHERE ended_at IS NULL;

CREATE TABLE session_parts (
  session      text COLLATE "C" NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
  part_number  integer NOT NULL CHECK (part_number BETWEEN 1 AND 10000),
  generation   integer NOT NULL,
  -- Rises with each request that brings this part: only the newest may say what is there.
  claim        integer NOT NULL DEFAULT 1,
  -- Null while it is on its way.
  etag         text,
  crc32        bytea,
  size         bigint,
  -- The client says so: the bytes did not pass through us.
  vouched      boolean NOT NULL DEFAULT false,
  updated_at   timestamptz(3) NOT NULL DEFAULT now(),
  PRIMARY KEY (session, part_number)
) WITH (fillfactor = 60);

-- Bytes that came and are no whole part yet, in pieces.
CREATE TABLE session_tails (
  session  text COLLATE "C" NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
  start    bigint NOT NULL,
  bytes    bytea NOT NULL,
  PRIMARY KEY (session, start)
);
-- Pieces are bytes as they came: compressing them costs time and gains little.
ALTER TABLE session_tails ALTER COLUMN bytes SET STORAGE EXTERNAL;
