// Follow: the events of runs as they happen, over as many connections as it takes: no gap, nothing twice.

import { getRun, stream } from "./calls.js";
import { RunNotFoundError, ServerUnavailableError } from "./errors.js";
import type { StreamEvent } from "./events.js";
import { isWorthRepeating, type Call, type CallOptions, type Exchange } from "./exchange.js";
import { readingOf, type Reading } from "./reading.js";
import { isOmitted, type Run } from "./records.js";
import type { WorkflowId } from "./register.js";
import { deadlineFor, now, type Deadline } from "./time.js";
import type { TransportResponse } from "./transport.js";

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
  for await (const piece of pieces(exchange, reading, several, options)) {
    for (const event of reading.take(piece)) yield (await whole(exchange, event, options)) as StreamEvent<W>;
    if (reading.isOver()) return;
  }
}

/** An output that is too long for a stream is asked for by itself. */
async function whole(exchange: Exchange, event: StreamEvent, options: CallOptions): Promise<StreamEvent> {
  const told = event.type === "run" ? event.run.output : event.type === "execution:complete" && event.data;
  if (!isOmitted(told)) return event;
  const run = await exchange.send<Run>(getRun(event.runId, { full: true }), options);
  return event.type === "run" ? { ...event, run } : ({ ...event, data: run.output } as StreamEvent);
}

/**
 * The pieces of the stream, over one connection after the other. Trouble is waited out: for as long as the client's patience lasts, once
 * a connection was there.
 */
async function* pieces(
  exchange: Exchange,
  reading: Reading,
  several: boolean,
  options: FollowOptions,
): AsyncGenerator<string, void, undefined> {
  const { signal, onConnection } = options;
  let failures = 0;
  let since: number | undefined;
  try {
    for (;;) {
      const call = stream(reading.runIds, several, reading.cursor);
      const deadline = deadlineFor(signal);
      let trouble: unknown;
      try {
        for await (const piece of connection(exchange, reading, call, options, deadline)) {
          failures = 0;
          since = undefined;
          yield piece;
        }
      } catch (error) {
        if (error instanceof RunNotFoundError && reading.leaveOut(error.runId)) continue;
        const limit = reading.isKnown ? exchange.patience : exchange.timeout;
        since ??= now();
        if (!isWorthRepeating(call, error) || now() - since >= limit) throw error;
        trouble = error;
      } finally {
        deadline.end();
      }
      if (reading.isOver()) return;
      if (!trouble && reading.progress) continue; // one that brought nothing is not made again at once
      onConnection?.("waiting");
      await exchange.pause(exchange.backOff(++failures, trouble, reading.retry), signal);
    }
  } finally {
    onConnection?.("closed");
  }
}

/** The pieces of one connection, until the credential has expired, or all is told. */
async function* connection(
  exchange: Exchange,
  reading: Reading,
  call: Call,
  options: FollowOptions,
  { signal, within }: Deadline,
): AsyncGenerator<string, void, undefined> {
  options.onConnection?.("connecting");
  within(exchange.timeout);
  const response = await exchange.attempt<TransportResponse>(call, options, signal, reading.refusal);
  reading.connected(response.status === 204);
  if (reading.isOver()) return;
  options.onConnection?.("open");
  const chunks = response.chunks()[Symbol.asyncIterator]();
  while (!reading.refusal) {
    within(exchange.idleTimeout);
    const next = await exchange.reached<IteratorResult<string, unknown>>(chunks.next(), options);
    within(Infinity);
    if (next.done) throw new ServerUnavailableError("the server ended the stream");
    yield next.value;
  }
}
