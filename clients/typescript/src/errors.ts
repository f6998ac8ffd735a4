// Errors: every exception of the client, and the table from a server's problem documents (RFC 9457) to them.

import type { Failure } from "./records.js";

/** An error as it travels. `type` is a stable slug; further members are data about it. */
export interface Problem {
  type: string;
  title: string;
  status: number;
  detail: string;
  data: Readonly<Record<string, unknown>>;
}

/**
 * The root of all errors of this package. `type` is the problem's slug ("" if no server said one), `status` the HTTP status (0 if
 * there was no answer), `data` what the server told beside. Tell errors apart by class, or by `type` where two copies
 * of this package may meet.
 */
export class StepflowError extends Error {
  override name = "StepflowError";
  declare readonly type: string;
  declare readonly status: number;
  declare readonly data: Readonly<Record<string, unknown>>;

  constructor(message: string, problem: Partial<Problem> = {}, options?: ErrorOptions) {
    super(message, options);
    const { type = "", status = 0, data = {} } = problem;
    Object.assign(this, { type, status, data });
    // What a server tells never replaces what an error has by itself.
    for (const name in data) if (!(name in this)) Object.defineProperty(this, name, { value: data[name] });
  }
}

/** What was sent does not fit. `path` says which part of it, if the server knows. */
export class InputError extends StepflowError {
  override name = "InputError";

  declare readonly path: string;
}

/** A value is over its limit; both in bytes. */
export class PayloadTooLargeError extends StepflowError {
  override name = "PayloadTooLargeError";

  declare readonly size: number;
  declare readonly limit: number;
}

/** No run has this id, or none that the credential may see. */
export class RunNotFoundError extends StepflowError {
  override name = "RunNotFoundError";

  declare readonly runId: string;
}

/** The server knows no such workflow; `nearest` are names that look alike. */
export class UnknownWorkflowError extends StepflowError {
  override name = "UnknownWorkflowError";

  declare readonly workflowId: string;
  declare readonly nearest: string[];
}

/** The id or idempotency key belongs to a run with another workflow or input. */
export class RunConflictError extends StepflowError {
  override name = "RunConflictError";

  declare readonly runId: string;
}

/** Of events sent with `once`, another came first: `first` is its payload. */
export class EventConflictError extends StepflowError {
  override name = "EventConflictError";

  declare readonly eventId: string;
  declare readonly first: unknown;
}

/** The run's state does not allow the operation; the message says what would. */
export class OperationRefusedError extends StepflowError {
  override name = "OperationRefusedError";

  declare readonly runId: string;
  declare readonly runStatus: string;
}

/** The server wants a valid credential: there was none, a wrong one, or one that has expired. */
export class UnauthenticatedError extends StepflowError {
  override name = "UnauthenticatedError";
}

/** The credential is valid, but does not allow this. */
export class ForbiddenError extends StepflowError {
  override name = "ForbiddenError";
}

/** The server can't be reached, or can't do its work now. `retryAfter`: seconds it wants to be left alone. */
export class ServerUnavailableError extends StepflowError {
  override name = "ServerUnavailableError";

  declare readonly retryAfter: number | undefined;
}

/** Any other refusal, and answers that no Stepflow server gives. */
export class RemoteError extends StepflowError {
  override name = "RemoteError";
}

/** The run failed: `failure` is its recorded error. */
export class RunFailedError extends StepflowError {
  override name = "RunFailedError";

  declare readonly runId: string;
  declare readonly failure: Failure | null;

  constructor(runId: string, failure: Failure | null) {
    const why = failure ? `: ${failure.type}: ${failure.message}` : "";
    super(`run ${runId} failed${why}`, { data: { runId, failure } });
  }
}

/** The run was cancelled, so it has no result. */
export class RunCancelledError extends StepflowError {
  override name = "RunCancelledError";

  declare readonly runId: string;

  constructor(runId: string) {
    super(`run ${runId} was cancelled`, { data: { runId } });
  }
}

/** The run is paused, so no result comes until it is resumed. */
export class RunPausedError extends StepflowError {
  override name = "RunPausedError";

  declare readonly runId: string;

  constructor(runId: string, reason: string | null) {
    super(`run ${runId} is paused (${reason ?? "unknown reason"}): resume or cancel it`, { data: { runId } });
  }
}

/** The run goes on; it did not end within the time that you gave it. */
export class ResultTimeoutError extends StepflowError {
  override name = "ResultTimeoutError";

  declare readonly runId: string;

  constructor(runId: string, milliseconds: number) {
    super(`run ${runId} goes on after ${milliseconds} ms`, { data: { runId } });
  }
}

/** The slugs that a server of this release sends. */
export type ProblemType =
  | "invalid-json"
  | "invalid-cursor"
  | "invalid-duration"
  | "invalid-id"
  | "invalid-input"
  | "unstorable-value"
  | "payload-too-large"
  | "run-not-found"
  | "unknown-workflow"
  | "run-conflict"
  | "event-conflict"
  | "operation-refused"
  | "unauthenticated"
  | "forbidden"
  | "not-found"
  | "method-not-allowed"
  | "request-timeout"
  | "body-too-large"
  | "unsupported-media-type"
  | "too-many-requests"
  | "too-many-streams"
  | "closing"
  | "unavailable"
  | "not-open"
  | "storage-unavailable"
  | "storage-full"
  | "schema-mismatch"
  | "storage-error"
  | "unreadable-value"
  | "misconfigured"
  | "internal-error";

/** Errors that carry data of their own go by their slug, all others by their status: so a newer server's are told apart, too. */
const kinds = new Map<string | number, typeof StepflowError>([
  ["payload-too-large", PayloadTooLargeError],
  ["run-not-found", RunNotFoundError],
  ["unknown-workflow", UnknownWorkflowError],
  ["run-conflict", RunConflictError],
  ["event-conflict", EventConflictError],
  ["operation-refused", OperationRefusedError],
  [400, InputError],
  [401, UnauthenticatedError],
  [403, ForbiddenError],
  [429, ServerUnavailableError],
  [502, ServerUnavailableError],
  [503, ServerUnavailableError],
  [504, ServerUnavailableError],
] satisfies [ProblemType | number, typeof StepflowError][]);

/** The document that a server answered with; for any other body, one of the status alone. */
export function readProblem(status: number, body: string, retryAfter?: number): Problem {
  let members: Record<string, unknown> = {};
  try {
    members = { ...(JSON.parse(body) as object) };
  } catch {
    // Not JSON: a proxy's page, which says no more than its status.
  }
  const { type, title, detail, status: _, ...data } = members;
  return {
    type: textOr("", type),
    title: textOr(`HTTP status ${status}`, title),
    status,
    detail: textOr("", detail),
    data: retryAfter === undefined ? data : { retryAfter, ...data },
  };
}

function textOr(otherwise: string, value: unknown): string {
  return typeof value === "string" ? value : otherwise;
}

/** The error that a document stands for. */
export function errorOf(problem: Problem): StepflowError {
  const Kind = kinds.get(problem.type) ?? kinds.get(problem.status) ?? RemoteError;
  return new Kind(problem.detail || problem.title, problem);
}
