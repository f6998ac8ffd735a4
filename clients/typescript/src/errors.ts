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
  readonly type: string;
  readonly status: number;
  readonly data: Readonly<Record<string, unknown>>;

  constructor(message: string, problem: Partial<Problem> = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.type = problem.type ?? "";
    this.status = problem.status ?? 0;
    this.data = problem.data ?? {};
    // What a server tells never replaces what an error has by itself.
    for (const [name, value] of Object.entries(this.data)) {
      if (!(name in this)) Object.defineProperty(this, name, { value });
    }
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

  constructor(
    readonly runId: string,
    readonly failure: Failure | null,
  ) {
    super(`run ${runId} failed${failure ? `: ${failure.type}: ${failure.message}` : ""}`);
  }
}

/** The run was cancelled, so it has no result. */
export class RunCancelledError extends StepflowError {
  override name = "RunCancelledError";

  constructor(readonly runId: string) {
    super(`run ${runId} was cancelled`);
  }
}

/** The run is paused, so no result comes until it is resumed. */
export class RunPausedError extends StepflowError {
  override name = "RunPausedError";

  constructor(
    readonly runId: string,
    reason: string | null,
  ) {
    super(`run ${runId} is paused (${reason ?? "unknown reason"}); resume it, or cancel it`);
  }
}

/** The run goes on; it did not end within the time that you gave it. */
export class ResultTimeoutError extends StepflowError {
  override name = "ResultTimeoutError";

  constructor(
    readonly runId: string,
    milliseconds: number,
  ) {
    super(`run ${runId} did not end within ${milliseconds} ms; it goes on`);
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
const byType: Readonly<Record<string, typeof StepflowError>> = {
  "payload-too-large": PayloadTooLargeError,
  "run-not-found": RunNotFoundError,
  "unknown-workflow": UnknownWorkflowError,
  "run-conflict": RunConflictError,
  "event-conflict": EventConflictError,
  "operation-refused": OperationRefusedError,
} satisfies Partial<Record<ProblemType, typeof StepflowError>>;

const byStatus: Readonly<Record<number, typeof StepflowError>> = {
  400: InputError,
  401: UnauthenticatedError,
  403: ForbiddenError,
  429: ServerUnavailableError,
  502: ServerUnavailableError,
  503: ServerUnavailableError,
  504: ServerUnavailableError,
};

/** The document that a server answered with; for any other body, one of the status alone. */
export function readProblem(status: number, body: string, retryAfter?: number): Problem {
  let members: Record<string, unknown> = {};
  try {
    const found: unknown = JSON.parse(body);
    if (typeof found === "object" && found !== null && !Array.isArray(found)) members = { ...found };
  } catch {
    // Not JSON: a proxy's page, which says no more than its status.
  }
  const { type, title, detail, ...rest } = members;
  const { status: _ignored, ...data } = rest;
  return {
    type: typeof type === "string" ? type : "",
    title: typeof title === "string" ? title : `HTTP status ${status}`,
    status,
    detail: typeof detail === "string" ? detail : "",
    data: retryAfter === undefined ? data : { retryAfter, ...data },
  };
}

/** The error that a document stands for. */
export function errorOf(problem: Problem): StepflowError {
  const Kind =
    (Object.hasOwn(byType, problem.type) ? byType[problem.type] : undefined) ??
    byStatus[problem.status] ??
    RemoteError;
  return new Kind(problem.detail || problem.title, problem);
}
