// Client: one Stepflow server, and all that can be asked of it.

import * as calls from "./calls.js";
import { credentialsOf, type AccessToken, type CredentialOptions } from "./credentials.js";
import { InputError, ResultTimeoutError } from "./errors.js";
import type { StreamEvent } from "./events.js";
import { exchangeWith, type Exchange } from "./exchange.js";
import { follow, type FollowOptions } from "./follow.js";
import { whyNoResult } from "./outcome.js";
import {
  isEnded,
  isOmitted,
  type Health,
  type Notified,
  type Page,
  type Run,
  type RunItem,
  type RunState,
  type RunToken,
  type Step,
  type TriggeredRun,
  type WorkflowInfo,
} from "./records.js";
import type { AnyRunId, EventPayload, InputOf, OutputOf, WorkflowId } from "./register.js";
import { subscribe, type SubscribeOptions } from "./subscription.js";
import { rememberedTokens, type RunTokens } from "./run-tokens.js";
import { deadlineFor, now, pause, type Pause } from "./time.js";
import { fetchTransport, type Transport } from "./transport.js";

/** Where the server is, who asks, and how patiently. All times are milliseconds. */
export interface StepflowClientOptions extends CredentialOptions {
  /** Where the API is served, like `https://shop.example/stepflow`, or `/stepflow` on the page's own server. */
  baseUrl: string;
  /** Used in place of the environment's own. */
  fetch?: typeof globalThis.fetch | undefined;
  /** Used in place of `fetch` altogether. */
  transport?: Transport | undefined;
  /** Where tokens of runs are kept: in memory, unless you give a `TokenManager` that you share, or that stores and refreshes them. */
  tokens?: RunTokens | undefined;
  /** A call is given up so long after it began, repetitions included: 30 s. */
  timeout?: number | undefined;
  /** Streams and waits that were connected once come back for so long: 5 minutes. `Infinity` is allowed. */
  patience?: number | undefined;
  /** A stream on which nothing comes for so long is opened anew: 60 s. (Heartbeats come every 15 s.) */
  idleTimeout?: number | undefined;
  /** How often a call that is safe to repeat is tried: 5 times. */
  attempts?: number | undefined;
  /** How pauses are made; for tests. */
  pause?: Pause | undefined;
  /** Scatters pauses and makes keys; for tests. */
  random?: (() => number) | undefined;
}

/** Every call can be given up. */
export interface RequestOptions {
  signal?: AbortSignal | undefined;
}

/** A call about one run: `accessToken` is the run's token, where the client's own credential does not reach. */
export interface RunOptions extends RequestOptions {
  accessToken?: AccessToken | undefined;
}

/** `full`: inputs and outputs, however large; without it those over 64 KiB are left out. */
export interface GetRunOptions extends RunOptions {
  full?: boolean | undefined;
}

/** `timeout`: milliseconds after which `ResultTimeoutError` is raised; for ever unless given. */
export interface WaitOptions extends RunOptions {
  timeout?: number | undefined;
}

export interface StreamOptions extends RunOptions, Pick<FollowOptions, "lastEventId" | "onConnection"> {}

export interface StartAndStreamOptions
  extends calls.TriggerOptions, RequestOptions, Pick<FollowOptions, "onConnection"> {}

/** An input may be left out where the workflow takes none. */
export type InputArguments<W extends WorkflowId, Options> =
  null extends InputOf<W>
    ? [input?: InputOf<W>, options?: Options]
    : undefined extends InputOf<W>
      ? [input?: InputOf<W>, options?: Options]
      : [input: InputOf<W>, options?: Options];

/** Milliseconds that the server is asked to hold a request for a run that goes on. */
const HELD = 30_000;

export class StepflowClient {
  /** The tokens of runs that this client started, and those that you give it. */
  readonly tokens: RunTokens;
  private readonly exchange: Exchange;
  private readonly send: Exchange["send"];

  /** No I/O. `InputError` for options that can't be used. */
  constructor(options: StepflowClientOptions) {
    const { baseUrl, tokens = rememberedTokens() } = options;
    if (!baseUrl) throw new InputError("baseUrl is where the API is served");
    this.tokens = tokens;
    this.exchange = exchangeWith({
      address: baseUrl.replace(/\/+$/, ""),
      transport: options.transport ?? fetchTransport(options.fetch),
      credentials: credentialsOf(options, tokens),
      timeout: options.timeout ?? 30_000,
      patience: options.patience ?? 300_000,
      idleTimeout: options.idleTimeout ?? 60_000,
      attempts: options.attempts ?? 5,
      pause: options.pause ?? pause,
      random: options.random ?? random,
    });
    this.send = this.exchange.send;
  }

  // ------------------------------------------------------------------ starting and events
  /**
   * Start a run; returns when it is durable. Sent under a key, so that it is started once however often it has to be sent.
   * `UnknownWorkflowError`, `InputError`, `RunConflictError`.
   */
  async trigger<W extends WorkflowId>(
    workflowId: W,
    ...[input, options = {}]: InputArguments<W, calls.TriggerOptions & RequestOptions>
  ): Promise<TriggeredRun<W>> {
    const { runId, idempotencyKey, signal } = options;
    if (runId !== undefined && idempotencyKey !== undefined)
      throw new InputError("give runId or idempotencyKey, not both");
    const own = runId === undefined && idempotencyKey === undefined;
    const call = calls.trigger(
      workflowId,
      input,
      own ? { ...options, idempotencyKey: this.newId() } : options,
    );
    const run = await this.send<TriggeredRun<W>>(call, { signal });
    if (this.exchange.credentials.needsRunTokens && run.publicAccessToken)
      await this.tokens.set(run.runId, run.publicAccessToken, run.expiresAt);
    return own ? { ...run, created: true } : run; // an attempt of ours did start it, even if its answer was lost
  }

  /** Start a run and follow it: every event of it, from the first to the last. */
  async *stream<W extends WorkflowId>(
    workflowId: W,
    ...[input, options = {}]: InputArguments<W, StartAndStreamOptions>
  ): AsyncGenerator<StreamEvent<W>, void, undefined> {
    const { runId } = await this.trigger(
      workflowId,
      ...([input, options] as InputArguments<W, StartAndStreamOptions>),
    );
    yield* this.streamRun<W>(runId, { ...options, lastEventId: "0" });
  }

  /** Send an event. `EventConflictError` if another was first (`once`), `OperationRefusedError` if its run has ended. */
  notify<E extends string>(
    eventId: E,
    payload: EventPayload<E>,
    options: calls.NotifyOptions & RunOptions = {},
  ): Promise<Notified> {
    const call = calls.notify(eventId, payload, { ...options, id: options.id ?? this.newId() });
    return this.send(call, options);
  }

  // ------------------------------------------------------------------ reading
  /** The run as it is now. `RunNotFoundError`. */
  getRun<W extends WorkflowId = WorkflowId>(
    runId: AnyRunId<W>,
    options: GetRunOptions = {},
  ): Promise<Run<W>> {
    return this.send(calls.getRun(runId, options), { ...options, runId });
  }

  /** The run once it has ended or is paused, whatever became of it. `ResultTimeoutError`: it goes on. */
  async waitForRun<W extends WorkflowId = WorkflowId>(
    runId: AnyRunId<W>,
    options: WaitOptions = {},
  ): Promise<Run<W>> {
    const { timeout = Infinity, signal } = options;
    const end = now() + timeout;
    for (let patient: boolean | undefined; ; patient = true) {
      const asked = now();
      const wait = Math.max(0, Math.min(HELD, end - asked));
      const call = { ...calls.getRun(runId, { wait }), patient };
      const run = await this.send<Run<W>>(call, { ...options, runId });
      if (isEnded(run) || run.status === "paused") return run;
      if (now() >= end) throw new ResultTimeoutError(runId, timeout);
      // A server that holds nothing back (it closes, or it can't) is not asked again at once.
      const least = Math.min(asked + 1000, end) - now();
      if (least > 0) await this.exchange.pause(least, signal);
    }
  }

  /** The run's output, once there is one, however large. `RunFailedError`, `RunCancelledError`, `RunPausedError`, `ResultTimeoutError`. */
  async waitForResult<W extends WorkflowId = WorkflowId>(
    runId: AnyRunId<W>,
    options: WaitOptions = {},
  ): Promise<OutputOf<W>> {
    const run: Run = await this.waitForRun(runId, options);
    const reason = whyNoResult(run);
    if (reason) throw reason;
    const whole: Run = isOmitted(run.output) ? await this.getRun(runId, { ...options, full: true }) : run;
    // eslint-disable-next-line @typescript-eslint/no-unnecessary-type-assertion -- it is needed where Register is augmented
    return whole.output as OutputOf<W>;
  }

  /** The run's steps in the order in which each was first recorded, a page at a time. */
  listSteps(
    runId: string,
    options: RunOptions & { cursor?: string | null; limit?: number } = {},
  ): Promise<Page<Step>> {
    return this.send(calls.listSteps(runId, options.cursor, options.limit), { ...options, runId });
  }

  /** Runs, newest first, without input, output and steps, a page at a time. */
  listRuns(options: calls.ListRunsOptions & RequestOptions = {}): Promise<Page<RunItem>> {
    return this.send(calls.listRuns(options), { signal: options.signal });
  }

  /** The registered workflows, with the JSON Schema of what each takes and gives. */
  async listWorkflows(options: RequestOptions = {}): Promise<WorkflowInfo[]> {
    return (await this.send<{ items: WorkflowInfo[] }>(calls.listWorkflows, options)).items;
  }

  /** How the server is: asked once; `ServerUnavailableError` if there is no answer. */
  health(options: RequestOptions = {}): Promise<Health> {
    return this.send(calls.health, options);
  }

  // ------------------------------------------------------------------ following
  /**
   * The run's events, until it has ended. A connection that is lost is made again, behind the last event you were given. Without
   * `lastEventId` the first event is the run as it is; of a run that has ended it is the only one.
   */
  streamRun<W extends WorkflowId = WorkflowId>(
    runId: AnyRunId<W>,
    options: StreamOptions = {},
  ): AsyncGenerator<StreamEvent<W>, void, undefined> {
    return follow<W>(this.exchange, [runId], false, { ...options, runId });
  }

  /** The events of several runs on one connection, until all have ended. Needs a credential that may see them all. */
  streamRuns(
    runIds: readonly string[],
    options: StreamOptions = {},
  ): AsyncGenerator<StreamEvent, void, undefined> {
    if (!runIds.length) throw new InputError("name at least one run to follow");
    return follow(this.exchange, runIds, true, options);
  }

  /** Be told of the run as it goes on. Returns at once; what it returns ends the subscription, not the run. */
  subscribeToRun<W extends WorkflowId = WorkflowId>(
    runId: AnyRunId<W>,
    options: SubscribeOptions<W>,
  ): () => void {
    const { signal, end } = deadlineFor(options.signal);
    const events = this.streamRun<W>(runId, { ...options, signal });
    void subscribe(events, options, signal).finally(end);
    return end;
  }

  // ------------------------------------------------------------------ operations: they need a secret key
  /** Ask the run to end: it cleans up. `force`: it is ended in the storage, at once. */
  cancelRun(runId: string, options: RequestOptions & { force?: boolean } = {}): Promise<RunState> {
    return this.send(calls.operation(runId, "cancel", { force: options.force }), options);
  }

  /** Nothing new starts in the run; steps that run are recorded. Events and timers are kept. */
  pauseRun(runId: string, options: RequestOptions = {}): Promise<RunState> {
    return this.send(calls.operation(runId, "pause"), options);
  }

  /** A paused run goes on. */
  resumeRun(runId: string, options: RequestOptions = {}): Promise<RunState> {
    return this.send(calls.operation(runId, "resume"), options);
  }

  /** A failed or cancelled run begins again from the top; what succeeded in it is not done again. */
  retryRun(runId: string, options: RequestOptions = {}): Promise<RunState> {
    return this.send(calls.operation(runId, "retry"), options);
  }

  /** Forget an ended or paused run. */
  deleteRun(runId: string, options: RequestOptions = {}): Promise<RunState> {
    return this.send(calls.deleteRun(runId), options);
  }

  /** A fresh token: the right to watch this run, and to send it these events. For your server to hand out. */
  createRunToken(runId: string, options: calls.RunTokenOptions & RequestOptions = {}): Promise<RunToken> {
    return this.send(calls.createRunToken(runId, options), options);
  }

  /** 128 random bits, from the environment's own source where it has one. */
  private newId(): string {
    // 33 bits, of which the first is 1: so that zeros are written, too. It is cut off, with what is behind the point.
    const word = (): string => (2 ** 32 * (1 + this.exchange.random())).toString(16).slice(1, 9);
    return `client-${word()}${word()}${word()}${word()}`;
  }
}

function random(): number {
  const [word] = (globalThis.crypto as Crypto | undefined)?.getRandomValues(new Uint32Array(1)) ?? [];
  return word === undefined ? Math.random() : word / 2 ** 32;
}
