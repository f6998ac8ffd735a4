// Exchange: a call becomes an answer or one of our errors, repeated where that is safe and worth it.

import type { Concerned, Credentials } from "./credentials.js";
import {
  errorOf,
  readProblem,
  RemoteError,
  ServerUnavailableError,
  UnauthenticatedError,
  type StepflowError,
} from "./errors.js";
import { Deadline, now, reasonOf, type Pause } from "./time.js";
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

const BUSY = [502, 503, 504];
/** Refusals that come before anything is done: even what must not be done twice may be tried again. */
const NOTHING_DONE = ["too-many-requests", "too-many-streams", "closing", "not-open"];

export class Exchange {
  constructor(readonly settings: Settings) {}

  /** The call's value, out of the answer's JSON. */
  async send<T>(call: Call, options: CallOptions = {}): Promise<T> {
    const { timeout, patience, attempts, pause } = this.settings;
    const end = now() + (call.patient ? patience : timeout) + (call.held ?? 0);
    for (let attempt = 1; ; attempt++) {
      const deadline = new Deadline(options.signal);
      deadline.within(Math.max(end - now(), 1));
      try {
        const response = await this.open(call, options, deadline);
        return parsed(await this.reached(response.text(), deadline)) as T;
      } catch (error) {
        const again = call.once !== true && (call.patient === true || attempt < attempts);
        const wait = this.backOff(attempt, error);
        if (!again || !isWorthRepeating(call, error) || now() + wait >= end) throw error;
        await pause(wait, options.signal);
      } finally {
        deadline.end();
      }
    }
  }

  /**
   * An answer of a status that the call knows, its body unread. Where a credential is refused that can be renewed, it is, once;
   * `expired`: that it was refused is known already.
   */
  async open(
    call: Call,
    options: CallOptions,
    deadline: Deadline,
    expired?: StepflowError,
  ): Promise<TransportResponse> {
    let refusal = expired;
    for (;;) {
      const credential = await this.settings.credentials.headers(options, refusal !== undefined);
      if (!credential) throw refusal ?? new UnauthenticatedError("there is no credential");
      const response = await this.reached(this.ask(call, credential, deadline.signal), deadline);
      if ((call.answers ?? [200]).includes(response.status)) return response;
      const told = seconds(response.header("retry-after"));
      const body = await this.reached(response.text(), deadline);
      const error = errorOf(readProblem(response.status, body, told));
      if (response.status !== 401 || refusal) throw error;
      refusal = error;
    }
  }

  /** Milliseconds until the next attempt: growing, scattered, and never fewer than the server wants. */
  backOff(attempt: number, error: unknown, least = 0): number {
    const told = error instanceof ServerUnavailableError ? error.retryAfter * 1000 : 0;
    const grown = Math.min(10_000, 250 * 2 ** Math.min(attempt - 1, 10));
    return Math.max(told, least) + grown * (0.5 + this.settings.random() / 2);
  }

  /** What the transport does; where it fails: the caller's own abort, or a server that can't be reached. */
  async reached<T>(work: Promise<T>, deadline: Deadline): Promise<T> {
    try {
      return await work;
    } catch (error) {
      if (deadline.abandoned) throw reasonOf(deadline.outer);
      const why = deadline.timedOut ? "it took too long" : String(error);
      throw new ServerUnavailableError(`no answer from ${this.settings.address}: ${why}`, {}, error);
    }
  }

  private ask(
    call: Call,
    credential: Record<string, string>,
    signal: AbortSignal,
  ): Promise<TransportResponse> {
    const headers: Record<string, string> = { Accept: "application/json", ...credential, ...call.headers };
    const body = call.body === undefined ? undefined : JSON.stringify(call.body);
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const { address, transport } = this.settings;
    const stream = headers["Accept"] !== "application/json";
    const url = address + call.path + written(call.query);
    return transport({ method: call.method, url, headers, body, signal, stream });
  }
}

/** Whether what failed may go well the next time, and may be asked for again. */
export function isWorthRepeating(call: Call, error: unknown): boolean {
  if (!(error instanceof ServerUnavailableError)) return false;
  if (error.status === 429 || NOTHING_DONE.includes(error.type)) return true;
  return call.safe === true && (error.status === 0 || BUSY.includes(error.status));
}

/** A query as it is written; what is undefined or null is left out. */
function written(query: Query = {}): string {
  const pairs = Object.entries(query).flatMap(([name, value]) =>
    value === undefined || value === null
      ? []
      : (Array.isArray(value) ? (value as string[]) : [String(value)]).map(
          (each) => `${name}=${encodeURIComponent(each)}`,
        ),
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
  const found = /^\d+$/.test(header) ? Number(header) : (Date.parse(header) - Date.now()) / 1000;
  return Number.isNaN(found) ? undefined : Math.min(Math.max(found, 0), 3600);
}
