// Follow: the events of runs as they happen, over as many connections as it takes: no gap, nothing twice.

import { getRun, streamRun, streamRuns } from "./calls.js";
import { RunNotFoundError, ServerUnavailableError } from "./errors.js";
import type { StreamEvent } from "./events.js";
import { isWorthRepeating, type Call, type CallOptions, type Exchange } from "./exchange.js";
import { readingOf, type Reading } from "./reading.js";
import { isOmitted, type Run } from "./records.js";
import type { WorkflowId } from "./register.js";
import { deadlineFor, now, type Deadline } from "./time.js";

/** How a stream's connection is. `waiting`: it was lost, and is made again after a pause. `closed`: for good. */
export type ConnectionState = "connecting" | "open" | "waiting" | "closed";

export interface FollowOptions extends CallOptions {
  /** The id of the last event that you know, `"0"` for all there ever were. Without it, the first event is the run as it is now. */
  lastEventId?: string | undefined;
  /** Told whenever the connection changes. */
  onConnection?: ((state: ConnectionState) => void) | undefined;
}

/** The events of one run, or (`several`) of all on one connection, until every run has ended. */
export async function* follow<W extends WorkflowId>(
  exchange: Exchange,
  runIds: readonly string[],
  several: boolean,
  options: FollowOptions,
): AsyncGenerator<StreamEvent<W>, void, undefined> {
  const reading = readingOf(runIds, options.lastEventId);
  const connection = connect(exchange, reading, several, options);
  try {
    while (!reading.isOver()) {
      const piece = await connection.read();
      if (piece === undefined) return;
      for (const event of reading.take(piece))
        yield (await whole(exchange, event, options)) as StreamEvent<W>;
    }
  } finally {
    connection.close();
  }
}

/** A result that is too long for a stream is asked for by itself. */
async function whole(exchange: Exchange, event: StreamEvent, options: CallOptions): Promise<StreamEvent> {
  if (event.type !== "execution:complete" || !isOmitted(event.data)) return event;
  const run = await exchange.send<Run>(getRun(event.runId, { full: true }), options);
  return { ...event, data: run.output };
}

interface Trouble {
  tell: (news: ConnectionState) => void;
  /** A connection was there, or something came of it. */
  none: (heard: boolean) => void;
  wait: (error?: unknown) => Promise<void>;
  /** Waits until it may be gone; throws the error if it is not worth it. */
  waitOut: (call: Call, error: unknown) => Promise<void>;
}

/** How long and how often trouble is waited out: patiently, once a connection was there. */
function troubleOf(exchange: Exchange, reading: Reading, options: FollowOptions): Trouble {
  const { timeout, patience, pause } = exchange.settings;
  let failures = 0;
  let since: number | undefined;
  let limit = timeout;
  let state: ConnectionState | undefined;
  const trouble: Trouble = {
    tell(news) {
      if (news !== state) options.onConnection?.(news);
      state = news;
    },
    none(heard) {
      limit = patience;
      if (!heard) return;
      failures = 0;
      since = undefined;
    },
    wait(error) {
      trouble.tell("waiting");
      return pause(exchange.backOff(++failures, error, reading.retry), options.signal);
    },
    waitOut(call, error) {
      since ??= now();
      if (!isWorthRepeating(call, error) || now() - since >= limit) throw error;
      return trouble.wait(error);
    },
  };
  return trouble;
}

function callFor({ runIds, cursor }: Reading, several: boolean): Call {
  const [runId = "", ...others] = runIds;
  return several ? streamRuns([runId, ...others], cursor) : streamRun(runId, cursor);
}

/** The connection of the moment. */
function connect(exchange: Exchange, reading: Reading, several: boolean, options: FollowOptions) {
  const { timeout, idleTimeout } = exchange.settings;
  const trouble = troubleOf(exchange, reading, options);
  let deadline: Deadline | undefined;
  let chunks: AsyncIterator<string> | undefined;

  const hangUp = (): void => {
    deadline?.end();
    chunks = undefined;
  };

  const open = async (call: Call, limits: Deadline): Promise<AsyncIterator<string> | undefined> => {
    trouble.tell("connecting");
    limits.within(timeout);
    const response = await exchange.open(call, options, limits, reading.expired);
    trouble.none(false);
    reading.connected();
    if (response.status === 204) return undefined;
    trouble.tell("open");
    return response.chunks()[Symbol.asyncIterator]();
  };

  /** What came next, connecting as often as it takes; undefined if the server has nothing more to tell. */
  const read = async (): Promise<string | undefined> => {
    if (reading.expired) {
      hangUp();
      if (!reading.progress) await trouble.wait(); // if it brought nothing else, the next one is not made at once
    }
    for (;;) {
      const call = callFor(reading, several);
      const limits = (deadline = (chunks && deadline) ?? deadlineFor(options.signal));
      try {
        chunks ??= await open(call, limits);
        if (!chunks) return undefined;
        limits.within(idleTimeout);
        const next: IteratorResult<string, unknown> = await exchange.reached(chunks.next(), options, limits);
        limits.within(Infinity);
        if (next.done) throw new ServerUnavailableError("the server ended the stream");
        trouble.none(true);
        return next.value;
      } catch (error) {
        hangUp();
        const isLeftOut = error instanceof RunNotFoundError && reading.leaveOut(error.runId);
        if (!isLeftOut) await trouble.waitOut(call, error);
      }
    }
  };

  const close = (): void => {
    hangUp();
    trouble.tell("closed");
  };
  return { read, close };
}
