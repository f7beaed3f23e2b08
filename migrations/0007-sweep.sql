-- What sweeps found and did, for lists do not belong in a workflow's history. A row is there before the deed, so that a
-- sweep that was cut off knows what it had begun.
CREATE TABLE sweep_findings (
  -- Workflow id.
  sweep         text COLLATE "C" NOT NULL,
  kind          text NOT NULL CHECK (kind IN ('multipart', 'row')),
  bucket        text NOT NULL,
  key           text COLLATE "C" NOT NULL,
  -- S3's id of the multipart upload, or ours of the row.
  subject       text COLLATE "C" NOT NULL,
  -- The object upload that it belongs to.
  owner         text COLLATE "C" NOT NULL,
  -- When it was begun, as the server has it; of a row, when it was last written.
  since         timestamptz(3) NOT NULL,
  outcome       text NOT NULL CHECK (outcome IN ('aborting', 'aborted', 'closing', 'closed', 'kept', 'failed')),
  reason        text NOT NULL,
  found_at      timestamptz(3) NOT NULL DEFAULT now(),
  PRIMARY KEY (sweep, kind, bucket, key, subject)
);

CREATE INDEX sweep_findings_age ON sweep_findings (found_at);

-- Rows that say of themselves that they go on, whatever they have in S3.
DROP INDEX object_uploads_to_sweep;
CREATE INDEX object_uploads_open ON object_uploads (installation, id)
  WHERE state NOT IN ('COMPLETED', 'FAILED', 'CANCELLED', 'EXPIRED');
