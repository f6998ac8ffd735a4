// RunRecord: a run as a server's record shows it, nothing having happened yet. Imports nothing, so that every package's tests can use it.

/** A run of the workflow `checkout` that began at the instant. */
export function runRecord(id: string, at: string) {
  return {
    id,
    workflowId: "checkout",
    status: "running",
    input: null,
    output: null,
    error: null,
    attempt: 1,
    createdAt: at,
    startedAt: at,
    endedAt: null,
    wakeAt: null,
    waits: [],
    tags: {},
    parentId: null,
    queue: "default",
    priority: 0,
    version: null,
    pauseReason: null,
    pauseDetail: "",
    steps: [],
    stepsOmitted: 0,
  };
}
