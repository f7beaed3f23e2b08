-- Folders on their way into buckets. For the files of a job this is the truth, not a projection: lists do not belong in
-- a workflow's history.
CREATE TABLE upload_jobs (
  id                  text COLLATE "C" PRIMARY KEY,
  -- Short, because every file names it.
  no                  bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
  workflow_id         text NOT NULL,
  run_id              text,
  installation        text NOT NULL,
  source_folder       text NOT NULL,
  source_root         text NOT NULL,
  source_path         text NOT NULL,
  destination_bucket  text NOT NULL,
  destination_prefix  text NOT NULL,
  pattern             text,
  definition          jsonb NOT NULL,
  fingerprint         text NOT NULL,
  state               text NOT NULL CHECK (
    state IN ('PENDING', 'IN_PROGRESS', 'PAUSED', 'BLOCKED', 'COMPLETED', 'FAILED', 'CANCELLED')
  ),
  phase               text NOT NULL DEFAULT 'scan',
  generation          integer NOT NULL DEFAULT 0,
  monitored           boolean NOT NULL DEFAULT false,
  -- Limits of the running job, leased to the workers that move its bytes. Null: none.
  bandwidth           bigint CHECK (bandwidth > 0),
  concurrency         integer CHECK (concurrency > 0),
  -- Where the scan of this generation is: the last path it wrote, and what it has found.
  scan_cursor         text COLLATE "C",
  scan_done           boolean NOT NULL DEFAULT false,
  scan_found          jsonb NOT NULL DEFAULT '{}',
  batches             integer NOT NULL DEFAULT 0,
  -- Totals as of the end of the last run; while one is under way they are counted.
  counts              jsonb NOT NULL DEFAULT '{}',
  failure_code        text,
  failure_reason      text,
  failure_hint        text,
  api_key             text,
  created_at          timestamptz(3) NOT NULL DEFAULT now(),
  started_at          timestamptz(3),
  finished_at         timestamptz(3),
  checked_at          timestamptz(3),
  updated_at          timestamptz(3) NOT NULL DEFAULT now()
) WITH (fillfactor = 70);

CREATE INDEX upload_jobs_newest ON upload_jobs (created_at DESC, id DESC);
CREATE INDEX upload_jobs_by_state ON upload_jobs (state, created_at DESC, id DESC);

CREATE TABLE files (
  upload_job_id  bigint NOT NULL REFERENCES upload_jobs (no) ON DELETE CASCADE,
  -- Below the job's folder, `/` between its parts. Bytes that are no UTF-8 are written as \xHH.
  path           text COLLATE "C" NOT NULL,
  id             bigint GENERATED ALWAYS AS IDENTITY,
  state          text NOT NULL CHECK (state IN ('PENDING', 'UPLOADED', 'FAILED', 'SKIPPED')),
  size           bigint,
  mtime_ns       bigint,
  -- The batch that it is sent with; null for large files, which have an upload of their own.
  batch          integer,
  large          boolean NOT NULL DEFAULT false,
  -- An empty folder's marker.
  marker         boolean NOT NULL DEFAULT false,
  -- Not in the folder any more.
  gone           boolean NOT NULL DEFAULT false,
  -- The last run that had something to do with it.
  generation     integer NOT NULL,
  attempts       integer NOT NULL DEFAULT 0,
  failure_code   text,
  failure_reason text,
  checksum       text,
  etag           text,
  version_id     text,
  upload_id      text,
  created_at     timestamptz(3) NOT NULL DEFAULT now(),
  updated_at     timestamptz(3) NOT NULL DEFAULT now(),
  PRIMARY KEY (upload_job_id, path)
) WITH (fillfactor = 80);

CREATE INDEX files_of_batch ON files (upload_job_id, batch) WHERE state = 'PENDING' AND NOT large;
CREATE INDEX files_large ON files (upload_job_id, id) WHERE large AND state = 'PENDING';
CREATE INDEX files_failed ON files (upload_job_id, path) WHERE state IN ('FAILED', 'SKIPPED');
CREATE INDEX files_gone ON files (upload_job_id, path) WHERE gone;

-- What each batch of the current generation has done: progress is their sum, so no row is written by all of them.
CREATE TABLE upload_batches (
  upload_job_id  bigint NOT NULL REFERENCES upload_jobs (no) ON DELETE CASCADE,
  batch          integer NOT NULL,
  running        boolean NOT NULL DEFAULT false,
  files          integer NOT NULL,
  bytes          bigint NOT NULL,
  sent_files     integer NOT NULL DEFAULT 0,
  sent_bytes     bigint NOT NULL DEFAULT 0,
  failed_files   integer NOT NULL DEFAULT 0,
  PRIMARY KEY (upload_job_id, batch)
) WITH (fillfactor = 50);

-- Who moves bytes of a job just now: a limit is shared by those who renewed their lease in time.
CREATE TABLE job_leases (
  upload_job_id  bigint NOT NULL REFERENCES upload_jobs (no) ON DELETE CASCADE,
  holder         uuid NOT NULL,
  expires_at     timestamptz(3) NOT NULL,
  PRIMARY KEY (upload_job_id, holder)
);

-- Who may call the API from another machine. The key itself is shown once and kept nowhere.
CREATE TABLE api_keys (
  id          text COLLATE "C" PRIMARY KEY,
  name        text NOT NULL,
  hash        bytea NOT NULL,
  -- [{"bucket": "…", "prefix": "…"}]; a bucket of * is every bucket.
  grants      jsonb NOT NULL,
  created_at  timestamptz(3) NOT NULL DEFAULT now(),
  revoked_at  timestamptz(3)
);

-- The answer to a request that may be repeated.
CREATE TABLE idempotency_keys (
  api_key      text COLLATE "C" NOT NULL,
  key          text COLLATE "C" NOT NULL,
  fingerprint  text NOT NULL,
  status       integer NOT NULL,
  body         jsonb NOT NULL,
  created_at   timestamptz(3) NOT NULL DEFAULT now(),
  PRIMARY KEY (api_key, key)
);
