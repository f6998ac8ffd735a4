// Calls: every request that the client makes, described once. No I/O.

import { InputError } from "./errors.js";
import type { Call, Query } from "./exchange.js";

/** Milliseconds, or text such as `"30s"`, `"1h30m"`, `"3d"`. */
export type Duration = number | string;

/** How a run is started. */
export interface TriggerOptions {
  /** The run's own id: triggered again, it is the same run. Not with `idempotencyKey`. */
  runId?: string | undefined;
  /** Triggered again with the same key, it is the same run. The client makes one if you give neither. */
  idempotencyKey?: string | undefined;
  /** The run begins so much later. */
  delay?: Duration | undefined;
  /** Marks to find the run by; a name holds no colon. */
  tags?: Readonly<Record<string, string>> | undefined;
  /** Higher goes first; 0 unless given. */
  priority?: number | undefined;
  queue?: string | undefined;
}

/** How an event is sent. */
export interface NotifyOptions {
  /** To this run only. */
  runId?: string | undefined;
  /** Sent again with the same id, it is one event. The client makes one unless you do. */
  id?: string | undefined;
  /** Only the first event of this id counts; a second one fails with `EventConflictError`. */
  once?: boolean | undefined;
}

/** Which runs to list. */
export interface ListRunsOptions {
  status?: string | readonly string[] | undefined;
  workflowId?: string | undefined;
  tags?: Readonly<Record<string, string>> | undefined;
  createdAfter?: Date | string | undefined;
  createdBefore?: Date | string | undefined;
  queue?: string | undefined;
  parentId?: string | undefined;
  /** The former page's `nextCursor`, with the same filter. */
  cursor?: string | null | undefined;
  /** 50 unless given, at most 500. */
  limit?: number | undefined;
}

/** For whom a fresh token is, and how long it is valid. */
export interface RunTokenOptions {
  /** The ids of events that it may send to its run. */
  events?: readonly string[] | undefined;
  /** 24 hours unless given. */
  lifetime?: Duration | undefined;
}

/** Safe to send again: the client gives it a key, or an id, whatever its caller does. */
export function trigger(workflowId: string, input: unknown, options: TriggerOptions): Call {
  const { runId, idempotencyKey, delay, tags, priority, queue } = options;
  return {
    method: "POST",
    path: `/trigger/${segment(workflowId)}`,
    query: { runId, delay: duration(delay), queue, priority, tag: tagged(tags) },
    headers: idempotencyKey === undefined ? {} : { "Idempotency-Key": headerText(idempotencyKey) },
    body: input ?? null,
    safe: true,
  };
}

/** Safe to send again: the client gives the event an id, whatever its caller does. */
export function notify(eventId: string, payload: unknown, { runId, id, once }: NotifyOptions): Call {
  const path = `/notify/${eventId.split("/").map(segment).join("/")}`;
  return { method: "POST", path, query: { runId, id, once }, body: payload ?? null, safe: true };
}

/** `wait`: milliseconds for which the server may hold the answer back while the run goes on. */
export function getRun(
  runId: string,
  { wait = 0, full }: { wait?: number; full?: boolean | undefined } = {},
): Call {
  const query = { wait: wait > 0 ? duration(wait) : undefined, full };
  return { ...read(pathOf(runId), query), held: wait };
}

export function listSteps(runId: string, cursor: string | null | undefined, limit: number | undefined): Call {
  return read(`${pathOf(runId)}/steps`, { cursor, limit });
}

export function listRuns(options: ListRunsOptions): Call {
  const { status, tags, createdAfter, createdBefore, workflowId, queue, parentId, cursor, limit } = options;
  return read("/runs", {
    status: status?.length ? status.toString() : undefined,
    workflowId,
    tag: tagged(tags),
    createdAfter,
    createdBefore,
    queue,
    parentId,
    cursor,
    limit,
  });
}

export function operation(
  runId: string,
  name: "cancel" | "pause" | "resume" | "retry" | "tokens",
  query?: Query,
): Call {
  return { method: "POST", path: `${pathOf(runId)}/${name}`, query };
}

export function deleteRun(runId: string): Call {
  return { method: "DELETE", path: pathOf(runId) };
}

/** One token more does no harm. */
export function createRunToken(runId: string, { events = [], lifetime }: RunTokenOptions): Call {
  const body = { events, lifetime: duration(lifetime) };
  return { ...operation(runId, "tokens"), body, safe: true };
}

export const listWorkflows = read("/workflows");

/** An unhealthy server answers, too, and is asked once. */
export const health: Call = { ...read("/health"), once: true, answers: [200, 503] };

/** `several`: on the path that serves any number of runs. */
export function stream(runIds: Iterable<string>, several: boolean, cursor: string | undefined): Call {
  const [runId = "", ...others] = runIds;
  return {
    ...(several ? read("/stream", { runId: [runId, ...others] }) : read(`${pathOf(runId)}/stream`)),
    headers: cursor === undefined ? {} : { "Last-Event-ID": headerText(cursor) },
    stream: true,
    answers: [200, 204],
  };
}

function read(path: string, query?: Query): Call {
  return { method: "GET", path, query, safe: true };
}

function pathOf(runId: string): string {
  return `/runs/${segment(runId)}`;
}

/** An id as a part of a path, where some texts mean something else. */
function segment(id: string): string {
  if (["", ".", ".."].includes(id)) throw new InputError(`"${id}" is no id, nor a part of one`);
  return encodeURIComponent(id);
}

function headerText(value: string): string {
  if (/^[\x20-\x7e]+$/.test(value)) return value;
  throw new InputError(`${JSON.stringify(value)} is not printable ASCII, so it can't travel in a header`);
}

function duration(value: Duration | undefined): string | undefined {
  if (typeof value !== "number") return value;
  return value % 1000 ? `${Math.round(value)}ms` : `${value / 1000}s`;
}

function tagged(tags: Readonly<Record<string, string>> = {}): string[] {
  return Object.entries(tags).map(([name, value]) => {
    if (name.includes(":")) throw new InputError(`tag ${name}: over HTTP a tag's name has no colon`);
    return `${name}:${value}`;
  });
}
