// Follow: the events of runs as they happen, over as many connections as it takes: no gap, nothing twice.

import { getRun, streamRun, streamRuns } from "./calls.js";
import { RunNotFoundError, ServerUnavailableError, UnauthenticatedError } from "./errors.js";
import type { StreamEvent } from "./events.js";
import { isWorthRepeating, type Call, type CallOptions, type Exchange } from "./exchange.js";
import { Reading } from "./reading.js";
import { isOmitted, type Run } from "./records.js";
import type { WorkflowId } from "./register.js";
import { Deadline, now } from "./time.js";

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
  const reading = new Reading(new Set(runIds), options.lastEventId);
  const connection = new Connection(exchange, reading, several, options);
  try {
    while (!reading.over) {
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

/** The connection of the moment, and the trouble with those before it. */
class Connection {
  private deadline: Deadline | undefined;
  private chunks: AsyncIterator<string> | undefined;
  private failures = 0;
  private troubledSince: number | undefined;
  private known = false;
  private state: ConnectionState | undefined;

  constructor(
    private readonly exchange: Exchange,
    private readonly reading: Reading,
    private readonly several: boolean,
    private readonly options: FollowOptions,
  ) {}

  /** What came next, connecting as often as it takes; undefined if the server has nothing more to tell. */
  async read(): Promise<string | undefined> {
    await this.leaveExpired();
    for (;;) {
      try {
        const chunks = (this.chunks ??= await this.connect());
        if (!chunks || !this.deadline) return undefined;
        this.deadline.within(this.exchange.settings.idleTimeout);
        const next: IteratorResult<string, unknown> = await this.exchange.reached(
          chunks.next(),
          this.deadline,
        );
        this.deadline.rest();
        if (next.done === true) throw new ServerUnavailableError("the server ended the stream");
        this.failures = 0;
        this.troubledSince = undefined;
        return next.value;
      } catch (error) {
        this.hangUp();
        await this.waitOut(error);
      }
    }
  }

  close(): void {
    this.hangUp();
    this.tell("closed");
  }

  private async connect(): Promise<AsyncIterator<string> | undefined> {
    this.tell("connecting");
    const { exchange, reading, options } = this;
    const deadline = (this.deadline = new Deadline(options.signal));
    deadline.within(exchange.settings.timeout);
    const refusal = reading.expired
      ? new UnauthenticatedError("the credential expired, and there is no fresh one", {
          type: "unauthenticated",
          status: 401,
        })
      : undefined;
    const response = await exchange.open(this.call(), options, deadline, refusal);
    deadline.rest();
    this.known = true;
    reading.connected();
    if (response.status === 204) return undefined;
    this.tell("open");
    return response.chunks()[Symbol.asyncIterator]();
  }

  private call(): Call {
    const runIds = [...this.reading.runIds];
    return this.several
      ? streamRuns(runIds, this.reading.cursor)
      : streamRun(runIds[0] ?? "", this.reading.cursor);
  }

  /** The credential was refused in the middle: once that is all a connection brings, the next one is not made at once. */
  private async leaveExpired(): Promise<void> {
    if (!this.reading.expired) return;
    this.hangUp();
    if (!this.reading.progress) await this.pause(undefined);
  }

  private async waitOut(error: unknown): Promise<void> {
    if (error instanceof RunNotFoundError && this.reading.leaveOut(error.runId)) return;
    const { patience, timeout } = this.exchange.settings;
    this.troubledSince ??= now();
    const spent = now() - this.troubledSince;
    if (!isWorthRepeating(this.call(), error) || spent >= (this.known ? patience : timeout)) throw error;
    await this.pause(error);
  }

  private async pause(error: unknown): Promise<void> {
    this.tell("waiting");
    const wait = this.exchange.backOff(++this.failures, error, this.reading.retry);
    await this.exchange.settings.pause(wait, this.options.signal);
  }

  /** Whatever of it still goes on is aborted. */
  private hangUp(): void {
    this.deadline?.end(true);
    this.deadline = this.chunks = undefined;
  }

  private tell(state: ConnectionState): void {
    if (state === this.state) return;
    this.state = state;
    this.options.onConnection?.(state);
  }
}
