// OfflineQueue: calls that are kept on the phone until a server has taken them: in order, each exactly once.

import {
  ServerUnavailableError,
  StepflowError,
  UnauthenticatedError,
  type EventPayload,
  type InputArguments,
  type Notified,
  type StepflowClient,
  type TokenStorage,
  type TriggeredRun,
  type WorkflowId,
} from "@stepflow/client";
import {
  EMPTY,
  failedCall,
  QueueFullError,
  read,
  send,
  written,
  type FailedCall,
  type QueueContent,
  type QueuedCall,
  type QueuedNotify,
  type QueuedTrigger,
} from "./queued-calls.js";
import type { Reachability } from "./reachability.js";

export interface OfflineQueueOptions {
  client: StepflowClient;
  /** Where calls are kept: `AsyncStorage`, or anything like it. One queue writes under one key. */
  storage: TokenStorage;
  reachability: Reachability;
  /** Under what they are kept. One for each user who signs in, or one user's calls are sent as another. */
  key?: string | undefined;
  /** Calls that may wait at a time: 100. Further ones are refused with `QueueFullError`. */
  limit?: number | undefined;
  /** Characters of JSON that may be kept: 1,000,000. */
  size?: number | undefined;
  /** Told of each call that was sent, with the server's answer; also of those from before the app was started. */
  onSent?: ((call: QueuedCall, answer: TriggeredRun | Notified) => void) | undefined;
  /** Told of each call that the server has refused. */
  onFailed?: ((failed: FailedCall) => void) | undefined;
}

/** The queue as it is. The object is another one whenever something in it is. */
export interface OfflineQueueState extends QueueContent {
  /** Whether a call is on its way. */
  isSending: boolean;
  /** What keeps the first call from being sent: no server (it is tried again), or a credential that was refused (call `flush()` with a good one). */
  error: Error | undefined;
}

/** A call that is kept. `answer` resolves when the server has taken it, rejects if it was refused or discarded; the app may be gone before. */
export interface Queued<Answer> {
  key: string;
  answer: Promise<Answer>;
}

interface Settle {
  resolve: (answer: unknown) => void;
  reject: (error: Error) => void;
}

const FAILED_KEPT = 100;
const LONGEST_PAUSE = 60_000;
/** A server that answers with its own failure is asked so often for the same call; one that does not answer, for ever. */
const ATTEMPTS = 5;

export class OfflineQueue {
  state: OfflineQueueState = { ...EMPTY, isSending: false, error: undefined };
  private readonly options: Omit<OfflineQueueOptions, "key" | "limit" | "size"> & {
    key: string;
    limit: number;
    size: number;
  };
  private readonly listeners = new Set<() => void>();
  private readonly waiting = new Map<string, Settle>();
  private readonly controller = new AbortController();
  private readonly stopListening: () => void;
  private loaded: Promise<void> | undefined;
  private writing: Promise<unknown> = Promise.resolve();
  private sending: Promise<void> | undefined;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private failures = 0;

  constructor({ key = "stepflow:queue", limit = 100, size = 1_000_000, ...options }: OfflineQueueOptions) {
    this.options = { ...options, key, limit, size };
    this.stopListening = options.reachability.listen((isReachable) => {
      if (isReachable) this.sendSoon();
    });
    this.sendSoon(); // what a former life of the app has left
  }

  /** Keep a trigger, and send it when its turn comes. Resolves when it is kept. `QueueFullError`. */
  async trigger<W extends WorkflowId>(
    workflowId: W,
    ...[input, options = {}]: InputArguments<W, QueuedTrigger["options"]>
  ): Promise<Queued<TriggeredRun<W>>> {
    const rest = { workflowId, input: input ?? null, options };
    return this.add<TriggeredRun<W>>({ ...newCall(), kind: "trigger", ...rest });
  }

  /** Keep an event, and send it when its turn comes. Resolves when it is kept. `QueueFullError`. */
  async notify<E extends string>(
    eventId: E,
    payload: EventPayload<E>,
    options: QueuedNotify["options"] = {},
  ): Promise<Queued<Notified>> {
    return this.add<Notified>({ ...newCall(), kind: "notify", eventId, payload, options });
  }

  /** Send what waits. Resolves when all is sent, or something is in the way: see `state.error`. `QueueUnreadableError`. */
  flush(): Promise<void> {
    clearTimeout(this.timer);
    this.sending ??= this.sendAll().finally(() => {
      this.sending = undefined;
    });
    return this.sending;
  }

  /** Drop a call, waiting or failed. One that is on its way may have been taken by the server. */
  async discard(key: string): Promise<void> {
    await this.load();
    this.settle(key)?.reject(new StepflowError(`call ${key} was discarded`));
    await this.keep(({ pending, failed }) => ({
      pending: pending.filter((call) => call.key !== key),
      failed: failed.filter(({ call }) => call.key !== key),
    }));
  }

  /** Drop everything, also what can't be read. */
  async clear(): Promise<void> {
    this.loaded = Promise.resolve();
    for (const key of [...this.waiting.keys()]) {
      this.settle(key)?.reject(new StepflowError(`call ${key} was discarded`));
    }
    await this.keep(() => EMPTY);
  }

  /** Be told of changes of `state`, until the returned function is called. */
  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => {
      this.listeners.delete(listener);
    };
  };

  /** Send nothing any more; what waits stays in the storage, for the next one. */
  close(): void {
    this.controller.abort();
    this.stopListening();
    clearTimeout(this.timer);
  }

  private async add<Answer>(call: QueuedCall): Promise<Queued<Answer>> {
    await this.load();
    const { limit, size } = this.options;
    const answer = new Promise((resolve, reject) => this.waiting.set(call.key, { resolve, reject }));
    answer.catch(() => undefined); // it need not be looked at: `state` and onFailed tell, too
    try {
      await this.keep((content) => {
        const more = { ...content, pending: [...content.pending, call] };
        if (more.pending.length > limit) throw new QueueFullError(`${limit} calls`);
        if (written(more).length > size) throw new QueueFullError(`${size} characters`);
        return more;
      });
    } catch (error) {
      this.waiting.delete(call.key);
      throw error;
    }
    this.sendSoon();
    return { key: call.key, answer: answer as Promise<Answer> };
  }

  /** What is kept, once; tried again if it could not be read. */
  private load(): Promise<void> {
    this.loaded ??= (async () => {
      this.change(read(await this.options.storage.getItem(this.options.key)));
    })().catch((error: unknown) => {
      this.loaded = undefined;
      throw error;
    });
    return this.loaded;
  }

  /** Changes one after the other, each in the storage before anybody sees it: what was not kept is not sent. */
  private keep(change: (content: QueueContent) => QueueContent): Promise<void> {
    const done = this.writing.then(async () => {
      const { pending, failed } = change(this.state);
      await this.options.storage.setItem(this.options.key, written({ pending, failed }));
      this.change({ pending, failed });
    });
    this.writing = done.catch(() => undefined); // who asked for it is told
    return done;
  }

  private sendSoon(): void {
    this.flush().catch((error: unknown) => {
      this.change({ error: asError(error) });
    });
  }

  private async sendAll(): Promise<void> {
    await this.load();
    for (;;) {
      const [call] = this.state.pending;
      if (!call || !this.maySend()) return;
      this.change({ isSending: true });
      try {
        const answer = await send(this.options.client, call, { signal: this.controller.signal });
        await this.sent(call, answer);
      } catch (error) {
        if (this.isClosed()) return;
        if (!(error instanceof StepflowError)) throw error; // the storage's
        if (this.isInTheWay(error)) return;
        await this.fail(call, error);
      } finally {
        this.change({ isSending: false });
      }
    }
  }

  private isClosed(): boolean {
    return this.controller.signal.aborted;
  }

  private maySend(): boolean {
    return !this.isClosed() && this.options.reachability.isReachable;
  }

  private async sent(call: QueuedCall, answer: unknown): Promise<void> {
    this.failures = 0;
    this.change({ error: undefined });
    await this.keep(({ pending, failed }) => ({ pending: without(pending, call), failed }));
    this.settle(call.key)?.resolve(answer);
    this.options.onSent?.(call, answer as TriggeredRun | Notified);
  }

  /** Whether the call has to wait: for a server, which is asked again after a while, or for a credential. */
  private isInTheWay(error: StepflowError): boolean {
    const isUnanswered = error instanceof ServerUnavailableError;
    const isBroken = error.status >= 500 && !isUnanswered;
    if (!isUnanswered && !(isBroken && this.failures < ATTEMPTS)) {
      this.failures = 0;
      if (!(error instanceof UnauthenticatedError)) return false;
      this.change({ error });
      return true;
    }
    this.change({ error });
    const wait = Math.min(LONGEST_PAUSE, 1000 * 2 ** Math.min(this.failures++, 10));
    this.timer = setTimeout(() => {
      this.sendSoon();
    }, wait);
    return true;
  }

  private async fail(call: QueuedCall, error: StepflowError): Promise<void> {
    const failed = failedCall(call, error, new Date().toISOString());
    this.change({ error: undefined });
    await this.keep((content) => ({
      pending: without(content.pending, call),
      failed: [...content.failed, failed].slice(-FAILED_KEPT),
    }));
    this.settle(call.key)?.reject(error);
    this.options.onFailed?.(failed);
  }

  private settle(key: string): Settle | undefined {
    const settle = this.waiting.get(key);
    this.waiting.delete(key);
    return settle;
  }

  private change(change: Partial<OfflineQueueState>): void {
    this.state = { ...this.state, ...change };
    for (const listener of [...this.listeners]) listener();
  }
}

function without(pending: readonly QueuedCall[], call: QueuedCall): QueuedCall[] {
  return pending.filter((each) => each.key !== call.key);
}

function newCall(): { key: string; queuedAt: string } {
  let key = "phone-";
  for (let part = 0; part < 4; part++) {
    key += Math.floor(Math.random() * 2 ** 32)
      .toString(16)
      .padStart(8, "0");
  }
  return { key, queuedAt: new Date().toISOString() };
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
