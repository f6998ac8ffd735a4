// Queued calls: what waits to be sent, as it is kept in a storage. No I/O.

import {
  StepflowError,
  type NotifyOptions,
  type RequestOptions,
  type StepflowClient,
  type TriggerOptions,
} from "@stepflow/client";

interface OfAnyCall {
  /** Under this the server knows it again, however often it is sent. */
  key: string;
  /** RFC 3339. */
  queuedAt: string;
}

export interface QueuedTrigger extends OfAnyCall {
  kind: "trigger";
  workflowId: string;
  input: unknown;
  options: Omit<TriggerOptions, "runId" | "idempotencyKey">;
}

export interface QueuedNotify extends OfAnyCall {
  kind: "notify";
  eventId: string;
  payload: unknown;
  options: Omit<NotifyOptions, "id"> & { accessToken?: string };
}

/** A call that waits to be sent. */
export type QueuedCall = QueuedTrigger | QueuedNotify;

/** A call that the server has refused: it is not sent again. `type` is the problem's slug. */
export interface FailedCall {
  call: QueuedCall;
  error: { name: string; message: string; type: string; status: number };
  failedAt: string;
}

/** All that is kept. */
export interface QueueContent {
  pending: readonly QueuedCall[];
  failed: readonly FailedCall[];
}

export const EMPTY: QueueContent = { pending: [], failed: [] };

const FORMAT = 1;

export function written({ pending, failed }: QueueContent): string {
  return JSON.stringify({ format: FORMAT, pending, failed });
}

/** `QueueUnreadableError` for anything that `written` has not written. */
export function read(text: string | null): QueueContent {
  if (text === null) return EMPTY;
  let found: Partial<QueueContent & { format: number }> | null;
  try {
    found = JSON.parse(text) as typeof found;
  } catch (cause) {
    throw new QueueUnreadableError(text, { cause });
  }
  const { format, pending, failed } = found ?? {};
  if (format !== FORMAT || !Array.isArray(pending) || !Array.isArray(failed)) {
    throw new QueueUnreadableError(text);
  }
  return { pending: pending as QueuedCall[], failed: failed as FailedCall[] };
}

/** The call, made. Repeating it does no harm. */
export function send(client: StepflowClient, call: QueuedCall, { signal }: RequestOptions): Promise<unknown> {
  if (call.kind === "notify") {
    return client.notify(call.eventId, call.payload, { ...call.options, id: call.key, signal });
  }
  // What it takes was checked when it was queued, maybe by an older release of the app.
  const trigger = client.trigger.bind(client) as (
    id: string,
    input: unknown,
    options: object,
  ) => Promise<unknown>;
  return trigger(call.workflowId, call.input, { ...call.options, idempotencyKey: call.key, signal });
}

export function failedCall(call: QueuedCall, error: StepflowError, failedAt: string): FailedCall {
  const { name, message, type, status } = error;
  return { call, error: { name, message, type, status }, failedAt };
}

/** The queue holds as much as it may; nothing was added. */
export class QueueFullError extends StepflowError {
  override name = "QueueFullError";

  constructor(readonly limit: string) {
    super(`the queue holds ${limit} already; send it (flush), or discard some of it`);
  }
}

/** What is kept under the queue's key was not written by this package, or by a newer release. It is left as it is. */
export class QueueUnreadableError extends StepflowError {
  override name = "QueueUnreadableError";

  constructor(
    readonly text: string,
    options?: ErrorOptions,
  ) {
    super("what is stored as the queue can't be read; look at `text`, then call clear()", {}, options);
  }
}
