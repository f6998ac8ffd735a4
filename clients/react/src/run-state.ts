// RunState: what a component is told of a run, as a union that `status` tells apart.

import { isEnded, type Failure, type OutputOf, type Run, type Step, type WorkflowId } from "@stepflow/client";
import type { Connection, View } from "./followed-run.js";

interface Watched {
  /** How the connection is. `waiting`: it was lost, and is made again after a pause. */
  connection: Connection;
  /** Why the run can't be followed, or no longer; what is known of it stays. Not the run's own failure. */
  error: Error | undefined;
  /** The run's last 200 steps, in the order in which each was first recorded. */
  steps: readonly Step[];
  /** Whether the run has completed, failed or been cancelled. */
  isEnded: boolean;
  /** Ask anew: after an error, or when an ended run was retried. */
  refresh: () => void;
}

/** `idle`: no run was named. `loading`: nothing is known yet. `unavailable`: nothing ever will be, see `error`. */
interface Unknown extends Watched {
  status: "idle" | "loading" | "unavailable";
  run: undefined;
  output: undefined;
  failure: undefined;
}

export interface Going<W extends WorkflowId> extends Watched {
  status: "queued" | "running" | "suspended" | "paused" | "cancelled";
  run: Run<W>;
  output: undefined;
  failure: undefined;
}

export interface Completed<W extends WorkflowId> extends Watched {
  status: "completed";
  run: Run<W>;
  output: OutputOf<W>;
  failure: undefined;
}

export interface Failed<W extends WorkflowId> extends Watched {
  status: "failed";
  run: Run<W>;
  output: undefined;
  /** What the workflow raised. */
  failure: Failure | null;
}

/** A run that is known. */
export type KnownRunState<W extends WorkflowId = WorkflowId> = Going<W> | Completed<W> | Failed<W>;

/** A run as a component sees it. `status` tells what else is there: `output` once it is `completed`, `failure` once it `failed`. */
export type RunState<W extends WorkflowId = WorkflowId> = Unknown | KnownRunState<W>;

const NO_STEPS: readonly Step[] = [];

/** `run`: the view's, or what stands for it as long as it has none. */
export function stateOf<W extends WorkflowId>(
  view: View,
  run: Run<W> | undefined,
  isNamed: boolean,
  refresh: () => void,
): RunState<W> {
  const { connection, error } = view;
  if (run) return knownState(view, run, refresh);
  const status = !isNamed ? "idle" : error ? "unavailable" : "loading";
  const nothing = { run: undefined, output: undefined, failure: undefined };
  return { ...nothing, status, connection, error, steps: NO_STEPS, isEnded: false, refresh };
}

/** The same for a run that is there. */
export function knownState<W extends WorkflowId>(
  { connection, error }: View,
  run: Run<W>,
  refresh: () => void,
): KnownRunState<W> {
  // The compiler does not see through Run<W>, which is a union for several workflows.
  const { status, steps, output, error: failure } = run;
  const common = { run, connection, error, steps, isEnded: isEnded({ status }), refresh };
  if (status === "completed") {
    return { ...common, status, output: output as OutputOf<W>, failure: undefined };
  }
  if (status === "failed") return { ...common, status, output: undefined, failure };
  return { ...common, status, output: undefined, failure: undefined };
}
