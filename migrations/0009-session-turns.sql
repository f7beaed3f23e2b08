-- What comes late changes nothing, and nothing that was let go arrives after the last look.
ALTER TABLE sessions
  -- Rises with each time that it is closed or opened again, from 0 with each generation: a late attempt changes nothing.
  ADD COLUMN turn       bigint NOT NULL DEFAULT 0,
  -- In mode `whole`: requests that sent the last of their bytes to S3, over all generations.
  ADD COLUMN puts       integer NOT NULL DEFAULT 0,
  -- And until when what the last of them sent may still arrive there.
  ADD COLUMN puts_until timestamptz(3);
