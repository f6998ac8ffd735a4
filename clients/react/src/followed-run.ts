// FollowedRun: one run as all components see it, over one connection, which is there while anybody watches.

import {
  applyEvent,
  type AccessToken,
  type ConnectionState,
  type Run,
  type StepflowClient,
  type StreamEvent,
} from "@stepflow/client";

/** How a run's connection is; `idle` if nobody watches it. */
export type Connection = "idle" | ConnectionState;

/** What is known of a run. The object is another one whenever something in it is, and only then. */
export interface View {
  readonly run: Run | undefined;
  /** Why it can't be followed, or no longer. */
  readonly error: Error | undefined;
  readonly connection: Connection;
}

/** From where a stream is read: the run as it is and what comes then, or all that ever happened. */
export type Beginning = "now" | "start";

export const UNKNOWN: View = { run: undefined, error: undefined, connection: "idle" };
export const NO_EVENTS: readonly StreamEvent[] = [];

/**
 * Milliseconds for which a connection outlives its last watcher: components that are mounted twice (Strict Mode), or that make way
 * for others on the same run, share one.
 */
export const LINGER = 1000;

/** Events that are kept, the latest ones. */
export const MOST_EVENTS = 1000;

export class FollowedRun {
  /** As of the last time that watchers were told. */
  view = UNKNOWN;
  events = NO_EVENTS;

  private next = UNKNOWN;
  private arrived: StreamEvent[] = [];
  private readonly watchers = new Set<() => void>();
  private readonly listeners = new Set<(event: StreamEvent) => void>();
  private controller: AbortController | undefined;
  private accessToken: AccessToken | undefined;
  private telling: ReturnType<typeof setTimeout> | undefined;
  private leaving: ReturnType<typeof setTimeout> | undefined;
  private awaited: { promise: Promise<void>; settle: () => void } | undefined;

  constructor(
    private readonly client: StepflowClient,
    private readonly runId: string,
    private readonly from: Beginning,
  ) {}

  /** Whether anything goes on in it: it must not be forgotten then. */
  get isInUse(): boolean {
    return this.controller !== undefined || this.watchers.size > 0;
  }

  /** Be told of changes, and keep the connection until the returned function is called. */
  watch(watcher: () => void, accessToken?: AccessToken): () => void {
    const own = (): void => {
      watcher();
    };
    this.watchers.add(own);
    clearTimeout(this.leaving);
    this.sign(accessToken);
    if (!this.controller) this.open();
    return () => {
      this.watchers.delete(own);
      this.leaveIfAlone();
    };
  }

  /** Be told of each event at once; this alone keeps no connection. */
  listen(listener: (event: StreamEvent) => void): () => void {
    this.listeners.add(listener);
    return () => {
      this.listeners.delete(listener);
    };
  }

  /** Resolves as soon as there is a run or an error to show. Opens the connection; it is given up if nobody watches after that. */
  ready(accessToken?: AccessToken): Promise<void> {
    if (!this.awaited) {
      let settle = (): void => undefined;
      const promise = new Promise<void>((resolve) => (settle = resolve));
      this.awaited = { promise, settle };
    }
    this.sign(accessToken);
    if (!this.controller) this.open();
    return this.awaited.promise;
  }

  /** Ask anew: after an error, or for a run that ended and has been retried since. */
  refresh(): void {
    this.controller?.abort();
    this.open();
    this.leaveIfAlone();
  }

  /** The token for further connections. A refusal is tried again with another token; a function is taken to give the same one. */
  private sign(accessToken: AccessToken | undefined): void {
    if (accessToken === undefined || accessToken === this.accessToken) return;
    this.accessToken = accessToken;
    if (typeof accessToken === "string" && this.controller && this.next.error) this.refresh();
  }

  private open(): void {
    this.controller = new AbortController();
    this.arrived = [];
    this.change({ error: undefined, connection: "connecting" });
    void this.read(this.controller.signal);
  }

  private async read(signal: AbortSignal): Promise<void> {
    const onConnection = (connection: ConnectionState): void => {
      if (!signal.aborted) this.change({ connection });
    };
    const lastEventId = this.from === "start" ? "0" : undefined;
    const accessToken = this.accessToken === undefined ? undefined : this.token;
    try {
      const events = this.client.streamRun(this.runId, { signal, lastEventId, accessToken, onConnection });
      for await (const event of events) {
        if (signal.aborted) return;
        this.take(event);
      }
    } catch (error) {
      if (signal.aborted) return;
      this.change({ error: error instanceof Error ? error : new Error(String(error)), connection: "closed" });
    }
  }

  /** Asked whenever a connection is made: components may have brought a fresher one meanwhile. */
  private readonly token = (): string | Promise<string> => {
    const { accessToken } = this;
    return typeof accessToken === "function" ? accessToken() : (accessToken ?? "");
  };

  private take(event: StreamEvent): void {
    this.arrived.push(event);
    if (this.arrived.length > 2 * MOST_EVENTS) this.arrived.splice(0, this.arrived.length - MOST_EVENTS);
    const before = this.next.run;
    this.change({ run: event.type === "run" ? event.run : before && applyEvent(before, event) });
    for (const listener of [...this.listeners]) {
      try {
        listener(event);
      } catch (error) {
        throwUncaught(error);
      }
    }
  }

  /** Watchers are told in a task of its own: what comes in one piece costs one rendering. */
  private change(change: Partial<View>): void {
    this.next = { ...this.next, ...change };
    this.telling ??= setTimeout(() => {
      this.telling = undefined;
      this.tell();
    });
  }

  private tell(): void {
    if (!sameView(this.view, this.next)) this.view = this.next;
    if (this.arrived.at(-1) !== this.events.at(-1) || this.arrived.length < this.events.length) {
      this.events = this.arrived.slice(-MOST_EVENTS);
    }
    if (this.awaited && (this.view.run ?? this.view.error)) {
      this.awaited.settle();
      this.awaited = undefined;
      this.leaveIfAlone();
    }
    for (const watcher of [...this.watchers]) watcher();
  }

  private leaveIfAlone(): void {
    clearTimeout(this.leaving);
    if (this.watchers.size > 0 || this.awaited) return;
    this.leaving = setTimeout(() => {
      this.controller?.abort();
      this.controller = undefined;
      this.change({ error: undefined, connection: "idle" });
    }, LINGER);
    // Under Node, where timers are objects, a process (a test's, a server's) that has nothing else to do does not wait for it.
    (this.leaving as { unref?: () => void }).unref?.();
  }
}

function sameView(one: View, other: View): boolean {
  return one.run === other.run && one.error === other.error && one.connection === other.connection;
}

/** A listener's error is its program's, and does no harm to the others: it goes where uncaught ones go. */
function throwUncaught(error: unknown): void {
  setTimeout(() => {
    throw error;
  });
}
