-- What has ended, to be told to others: written in the transaction that ends it, sent by one relay for each sink.
-- Numbers are given out before their transactions commit, so a reader that goes by them alone would pass by an event
-- that commits late. It goes by (xid, no) instead, and only below the oldest transaction that is still at work.
CREATE TABLE outbox (
  -- Whose relays send it, where several installations share a database.
  installation  text COLLATE "C" NOT NULL,
  xid           xid8 NOT NULL DEFAULT pg_current_xact_id(),
  no            bigint GENERATED ALWAYS AS IDENTITY,
  event_id      text COLLATE "C" NOT NULL,
  subject       text COLLATE "C" NOT NULL,
  type          text NOT NULL,
  -- The CloudEvent as it is sent: a repeated sending is the same to the last byte.
  event         jsonb NOT NULL,
  created_at    timestamptz(3) NOT NULL DEFAULT now(),
  PRIMARY KEY (installation, xid, no),
  UNIQUE (installation, event_id)
);

-- How far each sink is. Its relay raises `epoch` when it begins: one that was overtaken moves the cursor no more.
CREATE TABLE event_sinks (
  installation  text COLLATE "C" NOT NULL,
  name          text NOT NULL,
  xid           xid8 NOT NULL DEFAULT '0',
  no            bigint NOT NULL DEFAULT 0,
  epoch         bigint NOT NULL DEFAULT 0,
  -- Times that the sink has refused the event after the cursor.
  refusals      integer NOT NULL DEFAULT 0,
  -- Events laid aside since the sink last took one.
  laid_aside    integer NOT NULL DEFAULT 0,
  sent          bigint NOT NULL DEFAULT 0,
  -- Since when the sink cannot be reached, and why.
  away_since    timestamptz(3),
  away_reason   text,
  updated_at    timestamptz(3) NOT NULL DEFAULT now(),
  PRIMARY KEY (installation, name)
) WITH (fillfactor = 50);

-- Events that a sink would not take.
CREATE TABLE event_dead_letters (
  installation  text COLLATE "C" NOT NULL,
  sink          text NOT NULL,
  event_id      text COLLATE "C" NOT NULL,
  subject       text COLLATE "C" NOT NULL,
  type          text NOT NULL,
  event         jsonb NOT NULL,
  reason        text NOT NULL,
  created_at    timestamptz(3) NOT NULL DEFAULT now(),
  PRIMARY KEY (installation, sink, event_id)
);
