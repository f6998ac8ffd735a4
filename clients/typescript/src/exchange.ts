// Exchange: a call becomes an answer or one of our errors, repeated where that is safe and worth it.

import type { Concerned, Credentials } from "./credentials.js";
import { errorOf, readProblem, RemoteError, ServerUnavailableError } from "./errors.js";
import { deadlineFor, now, reasonOf, type Pause } from "./time.js";
import type { Transport, TransportResponse } from "./transport.js";

type QueryValue = string | number | boolean | Date;
export type Query = Record<string, QueryValue | readonly string[] | null | undefined>;

/**
 * One request as it is meant. `safe`: to do it twice is the same as once. `held`: milliseconds that the server may take on purpose.
 * `patient` calls are repeated for as long as the client's patience lasts, those that are `once` never. `stream`: the answer is read
 * while it comes.
 */
export interface Call {
  method: "GET" | "POST" | "DELETE";
  path: string;
  query?: Query | undefined;
  headers?: Record<string, string>;
  body?: unknown;
  safe?: boolean;
  held?: number;
  patient?: boolean | undefined;
  once?: boolean;
  stream?: boolean;
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

export interface Exchange extends Settings {
  /** The call's value, out of the answer's JSON; attempted as often as it takes. */
  send: <T>(call: Call, options?: CallOptions) => Promise<T>;
  /**
   * One attempt: the value, or of a `stream` the answer, its body unread. Where a credential is refused that can be renewed, it is,
   * once; `refusal`: it was refused already, and so.
   */
  attempt: <T>(call: Call, options: CallOptions, signal: AbortSignal, refusal?: Error) => Promise<T>;
  /** What the transport does; where it fails: the caller's own abort, or a server that can't be reached. */
  reached: <T>(work: Promise<T>, options: CallOptions) => Promise<T>;
  /** Milliseconds until the next attempt: growing, scattered, and never fewer than the server wants. */
  backOff: (attempt: number, error: unknown, least?: number) => number;
}

export function exchangeWith(settings: Settings): Exchange {
  const { address, credentials, random } = settings;

  const reached: Exchange["reached"] = async (work, { signal }) => {
    try {
      return await work;
    } catch (cause) {
      if (signal?.aborted) throw reasonOf(signal);
      throw new ServerUnavailableError(`no answer from ${address}: ${String(cause)}`, {}, { cause });
    }
  };

  const attempt = async (
    call: Call,
    options: CallOptions,
    signal: AbortSignal,
    refusal?: Error,
  ): Promise<unknown> => {
    for (;;) {
      const credential = await credentials.headers(options, refusal);
      const response = await reached(ask(settings, call, credential, signal), options);
      const { status } = response;
      const isAnswer = (call.answers ?? [200]).includes(status);
      if (isAnswer && call.stream) return response;
      const body = await reached(response.text(), options);
      if (isAnswer) return parsed(body);
      const error = errorOf(readProblem(status, body, seconds(response.header("retry-after"))));
      if (status !== 401 || refusal) throw error;
      refusal = error;
    }
  };

  const exchange: Exchange = {
    ...settings,
    reached,
    attempt: attempt as Exchange["attempt"],
    send: (call, options = {}) => send(exchange, call, options),
    backOff(attempt, error, least = 0) {
      const told = error instanceof ServerUnavailableError ? (error.retryAfter ?? 0) * 1000 : 0;
      return Math.max(told, least) + Math.min(10_000, 125 * 2 ** attempt) * (0.5 + random() / 2);
    },
  };
  return exchange;
}

async function send<T>(exchange: Exchange, call: Call, options: CallOptions): Promise<T> {
  const { timeout, patience, attempts, pause } = exchange;
  const end = now() + (call.patient ? patience : timeout) + (call.held ?? 0);
  for (let attempt = 1; ; attempt++) {
    const deadline = deadlineFor(options.signal);
    deadline.within(end - now());
    try {
      return await exchange.attempt<T>(call, options, deadline.signal);
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
  { method, path, query, headers, body: value, stream = false }: Call,
  credential: Record<string, string>,
  signal: AbortSignal,
): Promise<TransportResponse> {
  const body = JSON.stringify(value) as string | undefined;
  return transport({
    method,
    url: address + path + written(query),
    headers: {
      Accept: stream ? "text/event-stream" : "application/json",
      ...(body && { "Content-Type": "application/json" }),
      ...credential,
      ...headers,
    },
    body,
    signal,
    stream,
  });
}

/** Whether what failed may go well the next time, and may be asked for again. */
export function isWorthRepeating(call: Call, error: unknown): boolean {
  if (!(error instanceof ServerUnavailableError)) return false;
  const { type, status } = error;
  // Refusals that come before anything is done: even what must not be done twice may be tried again.
  if (status === 429 || ["too-many-streams", "closing", "not-open"].includes(type)) return true;
  return !!call.safe && (!status || status > 501);
}

/** A query as it is written; what is undefined, null or false is left out. */
function written(query: Query = {}): string {
  const pairs = Object.entries(query).flatMap(([name, value]) =>
    [value === false ? [] : (value ?? [])]
      .flat()
      .map((each) => `${name}=${encodeURIComponent(each instanceof Date ? each.toISOString() : each)}`),
  );
  return pairs.length ? `?${pairs.join("&")}` : "";
}

/** The value of what a server sent. */
export function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new RemoteError("what came is not JSON; does baseUrl lead to a Stepflow API?", {}, { cause });
  }
}

/** `Retry-After` in seconds, an hour at most; it may be a date. */
function seconds(header: string | null): number | undefined {
  if (!header) return undefined;
  const found = isNaN(+header) ? (Date.parse(header) - Date.now()) / 1000 : +header;
  return isNaN(found) ? undefined : Math.min(Math.max(found, 0), 3600);
}
