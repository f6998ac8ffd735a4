// Reference: the ways in which a component may name the run that it is about.

import type { AnyRunId, TriggeredRun, WorkflowId } from "@stepflow/client";

/** A run's id, what `trigger` answered, or nothing yet. */
export type RunReference<W extends WorkflowId = WorkflowId> =
  AnyRunId<W> | Pick<TriggeredRun<W>, "runId"> | null | undefined;

/**
 * The arguments of a hook, as its overloads allow them: `(run)`, `(run, options)`, `(workflowId, run)` or
 * `(workflowId, run, options)`. Which run, if any, and the options: the workflow's id is there for the types only.
 */
export function readArguments<Options extends object>(
  given: readonly unknown[],
): { runId: string | undefined; options: Partial<Options> } {
  const [first, second, third] = given;
  if (given.length === 1 || isOptions(second)) return { runId: idOf(first), options: second ?? {} };
  return { runId: idOf(second), options: third ?? {} };
}

function isOptions(value: unknown): boolean {
  return typeof value === "object" && value !== null && !("runId" in value);
}

function idOf(given: unknown): string | undefined {
  const run = given as RunReference;
  const id: string | undefined = typeof run === "string" ? run : run?.runId;
  return id === "" ? undefined : id;
}
