// Exchange: a call becomes an answer or one of our errors, repeated where that is safe and worth it.

import type { Concerned, Credentials } from "./credentials.js";
import {
  errorOf,
  readProblem,
  RemoteError,
  ServerUnavailableError,
  type Problem,
  type StepflowError,
} from "./errors.js";
import { deadlineFor, now, reasonOf, type Deadline, type Pause } from "./time.js";
import type { Transport, TransportResponse } from "./transport.js";

export type Query = Record<string, string | number | boolean | readonly string[] | null | undefined>;

/**
 * One request as it is meant. `safe`: to do it twice is the same as once. `held`: milliseconds that the server may take on purpose.
 * `patient` calls are repeated for as long as the client's patience lasts, those that are `once` never.
 */
export interface Call {
  method: "GET" | "POST" | "DELETE";
  path: string;
  query?: Query;
  headers?: Record<string, string>;
  body?: unknown;
  safe?: boolean;
  held?: number;
  patient?: boolean;
  once?: boolean;
  answers?: readonly number[];
}

/** For whom a call is made, and until when. */
export interface CallOptions extends Concerned {
  signal?: AbortSignal | undefined;
}

export interface Settings {
  address: string;
  transport: Transport;
  credentials: Credentials;
  timeout: number;
  patience: number;
  idleTimeout: number;
  attempts: number;
  pause: Pause;
  random: () => number;
}

export interface Exchange {
  settings: Settings;
  /** The call's value, out of the answer's JSON. */
  send: <T>(call: Call, options?: CallOptions) => Promise<T>;
  /**
   * An answer of a status that the call knows, its body unread. Where a credential is refused that can be renewed, it is, once;
   * `expired`: that it was refused is known already.
   */
  open: (
    call: Call,
    options: CallOptions,
    deadline: Deadline,
    expired?: boolean,
  ) => Promise<TransportResponse>;
  /** What the transport does; where it fails: the caller's own abort, or a server that can't be reached. */
  reached: <T>(work: Promise<T>, options: CallOptions, deadline: Deadline) => Promise<T>;
  /** Milliseconds until the next attempt: growing, scattered, and never fewer than the server wants. */
  backOff: (attempt: number, error: unknown, least?: number) => number;
}

export function exchangeWith(settings: Settings): Exchange {
  const { address, credentials, random } = settings;

  const reached: Exchange["reached"] = async (work, { signal }, deadline) => {
    try {
      return await work;
    } catch (error) {
      if (signal?.aborted) throw reasonOf(signal);
      const why = deadline.timedOut() ? "it took too long" : String(error);
      throw new ServerUnavailableError(`no answer from ${address}: ${why}`, {}, error);
    }
  };

  const open: Exchange["open"] = async (call, options, deadline, expired) => {
    let refusal: StepflowError | undefined = expired ? errorOf(EXPIRED) : undefined;
    for (;;) {
      const credential = await credentials.headers(options, !!refusal);
      if (!credential) throw refusal ?? errorOf(EXPIRED);
      const response = await reached(ask(settings, call, credential, deadline.signal), options, deadline);
      const { status } = response;
      if ((call.answers ?? [200]).includes(status)) return response;
      const body = await reached(response.text(), options, deadline);
      const error = errorOf(readProblem(status, body, seconds(response.header("retry-after"))));
      if (status !== 401 || refusal) throw error;
      refusal = error;
    }
  };

  const exchange: Exchange = {
    settings,
    reached,
    open,
    send: (call, options = {}) => send(exchange, call, options),
    backOff(attempt, error, least = 0) {
      const told = error instanceof ServerUnavailableError ? (error.retryAfter ?? 0) * 1000 : 0;
      return Math.max(told, least) + Math.min(10_000, 125 * 2 ** attempt) * (0.5 + random() / 2);
    },
  };
  return exchange;
}

const EXPIRED: Problem = {
  type: "unauthenticated",
  title: "the token has expired, and there is no fresh one",
  status: 401,
  detail: "",
  data: {},
};

async function send<T>(exchange: Exchange, call: Call, options: CallOptions): Promise<T> {
  const { timeout, patience, attempts, pause } = exchange.settings;
  const end = now() + (call.patient ? patience : timeout) + (call.held ?? 0);
  for (let attempt = 1; ; attempt++) {
    const deadline = deadlineFor(options.signal);
    deadline.within(Math.max(end - now(), 1));
    try {
      const response = await exchange.open(call, options, deadline);
      return parsed(await exchange.reached(response.text(), options, deadline)) as T;
    } catch (error) {
      const again = !call.once && (call.patient ?? attempt < attempts);
      const wait = exchange.backOff(attempt, error);
      if (!again || !isWorthRepeating(call, error) || now() + wait >= end) throw error;
      await pause(wait, options.signal);
    } finally {
      deadline.end();
    }
  }
}

function ask(
  { address, transport }: Settings,
  { method, path, query, headers: more, body: value }: Call,
  credential: Record<string, string>,
  signal: AbortSignal,
): Promise<TransportResponse> {
  const headers: Record<string, string> = { Accept: "application/json", ...credential, ...more };
  const body = value === undefined ? undefined : JSON.stringify(value);
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const stream = headers["Accept"] !== "application/json";
  return transport({ method, url: address + path + written(query), headers, body, signal, stream });
}

/** Whether what failed may go well the next time, and may be asked for again. */
export function isWorthRepeating(call: Call, error: unknown): boolean {
  if (!(error instanceof ServerUnavailableError)) return false;
  const { type, status } = error;
  // Refusals that come before anything is done: even what must not be done twice may be tried again.
  if (status === 429 || ["too-many-requests", "too-many-streams", "closing", "not-open"].includes(type))
    return true;
  return !!call.safe && (!status || status > 501);
}

/** A query as it is written; what is undefined or null is left out. */
function written(query: Query = {}): string {
  const pairs = Object.entries(query).flatMap(([name, value]) =>
    [value ?? []].flat().map((each) => `${name}=${encodeURIComponent(each as string)}`),
  );
  return pairs.length ? `?${pairs.join("&")}` : "";
}

function parsed(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch (error) {
    throw new RemoteError("the answer is not JSON; does baseUrl lead to a Stepflow API?", {}, error);
  }
}

/** `Retry-After` in seconds, an hour at most; it may be a date. */
function seconds(header: string | null): number | undefined {
  if (!header) return undefined;
  const found = isNaN(+header) ? (Date.parse(header) - Date.now()) / 1000 : +header;
  return isNaN(found) ? undefined : Math.min(Math.max(found, 0), 3600);
}
