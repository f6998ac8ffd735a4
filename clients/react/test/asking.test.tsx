// @vitest-environment jsdom
// useTrigger, useNotify and useTriggerAndFollow: what a component asks of the server, and how that goes.
import { act, renderHook } from "@testing-library/react";
import { StrictMode, type ReactNode } from "react";
import type { ServerResponse } from "node:http";
import { OperationRefusedError, StepflowClient, UnknownWorkflowError } from "@stepflow/client";
import { afterEach, beforeEach, expect, test } from "vitest";
import { StepflowProvider, useNotify, useTrigger, useTriggerAndFollow } from "../src/index.js";
import { eventually } from "./eventually.js";
import { json, problem, ScriptedServer } from "./scripted-server.js";

let server: ScriptedServer;
let client: StepflowClient;

beforeEach(async () => {
  server = await ScriptedServer.start();
  client = new StepflowClient({ baseUrl: server.baseUrl, publicApiKey: "sf_pub_1", timeout: 5000 });
});

afterEach(async () => {
  await server.close();
});

function wrapper({ children }: { children: ReactNode }): ReactNode {
  return (
    <StrictMode>
      <StepflowProvider client={client}>{children}</StepflowProvider>
    </StrictMode>
  );
}

function at(waiting: ServerResponse[], index: number): ServerResponse {
  const response = waiting[index];
  if (!response) throw new Error(`no request ${index} came`);
  return response;
}

test("a trigger starts one run, and tells which", async () => {
  const { result } = renderHook(() => useTrigger("checkout"), { wrapper });
  expect(result.current).toMatchObject({ isTriggering: false, run: undefined, error: undefined });

  let started: Promise<unknown> = Promise.resolve();
  act(() => {
    started = result.current.trigger({ total: 42 }, { tags: { shop: "berlin" } });
  });
  expect(result.current.isTriggering).toBe(true);
  const run = await started;

  await eventually(() => {
    expect(result.current.isTriggering).toBe(false);
  });
  expect(result.current.run).toBe(run);
  expect(result.current.run).toMatchObject({ runId: "run-1", created: true });
  expect(server.requests).toMatchObject([
    { method: "POST", url: "/trigger/checkout?tag=shop%3Aberlin", body: { total: 42 } },
  ]);
});

test("a trigger that is refused rejects and tells the error, until reset", async () => {
  server.answer = (_, __, response) => {
    problem(response, 404, "unknown-workflow", { nearest: ["checkout"] });
  };
  const { result } = renderHook(() => useTrigger("checkout"), { wrapper });
  let failed: Promise<unknown> = Promise.resolve();
  act(() => {
    failed = result.current.trigger({ total: 42 });
  });
  await expect(failed).rejects.toBeInstanceOf(UnknownWorkflowError);
  await eventually(() => {
    expect(result.current.error).toBeInstanceOf(UnknownWorkflowError);
  });

  act(() => {
    result.current.reset();
  });
  expect(result.current).toMatchObject({ isTriggering: false, run: undefined, error: undefined });
});

test("of triggers that overlap the latest one is shown, whichever is answered last", async () => {
  const waiting: ServerResponse[] = [];
  server.answer = (_, __, response) => waiting.push(response);
  const { result } = renderHook(() => useTrigger("checkout"), { wrapper });
  const started: Promise<unknown>[] = [];
  for (const total of [1, 2]) {
    act(() => {
      started.push(result.current.trigger({ total }));
    });
    await eventually(() => {
      expect(waiting).toHaveLength(total);
    });
  }
  const answer = (index: number): void => {
    json(at(waiting, index), 200, { runId: `r${index + 1}`, publicAccessToken: null });
  };
  answer(1);
  await started[1];
  await eventually(() => {
    expect(result.current.run?.runId).toBe("r2");
  });
  answer(0);
  await act(async () => {
    await expect(started[0]).resolves.toMatchObject({ runId: "r1" });
  });
  expect(result.current).toMatchObject({ isTriggering: false, run: { runId: "r2" } });
});

test("a component that has gone is not told; the run is started all the same", async () => {
  const waiting: ServerResponse[] = [];
  server.answer = (_, __, response) => waiting.push(response);
  let renders = 0;
  const { result, unmount } = renderHook(
    () => {
      renders++;
      return useTrigger("survey");
    },
    { wrapper },
  );
  let started: Promise<unknown> = Promise.resolve();
  act(() => {
    started = result.current.trigger();
  });
  await eventually(() => {
    expect(waiting).toHaveLength(1);
  });
  unmount();
  renders = 0;
  json(at(waiting, 0), 200, { runId: "r1", publicAccessToken: null });
  await expect(started).resolves.toMatchObject({ runId: "r1" });
  expect(renders).toBe(0);
});

test("an event goes to the run that was named, with its token", async () => {
  const { result } = renderHook(() => useNotify({ runId: "r1", accessToken: "pat_1" }), { wrapper });
  let sent: Promise<unknown> = Promise.resolve();
  act(() => {
    sent = result.current.notify("approval/a-1", { approved: true }, { id: "n1", once: true });
  });
  expect(result.current.isNotifying).toBe(true);
  await sent;
  await eventually(() => {
    expect(result.current.notified).toEqual({ id: "event-1", woken: 1 });
  });
  expect(server.requests[0]).toMatchObject({
    url: "/notify/approval/a-1?runId=r1&id=n1&once=true",
    body: { approved: true },
    headers: { authorization: "Bearer pat_1" },
  });
});

test("an event that is refused tells the error", async () => {
  server.answer = (_, __, response) => {
    problem(response, 409, "operation-refused", { runId: "r1" });
  };
  const { result } = renderHook(() => useNotify(), { wrapper });
  act(() => {
    void result.current.notify("anything", 1);
  });
  await eventually(() => {
    expect(result.current.error).toBeInstanceOf(OperationRefusedError);
  });
});

test("trigger and follow is idle, then the run that was started last, to its end", async () => {
  const { result } = renderHook(() => useTriggerAndFollow("checkout"), { wrapper });
  expect(result.current).toMatchObject({ status: "idle", isTriggering: false, triggered: undefined });

  for (const runId of ["run-1", "run-2"]) {
    act(() => {
      void result.current.trigger({ total: 1 });
    });
    await eventually(() => {
      expect(result.current).toMatchObject({ status: "running", run: { id: runId } });
    });
    expect(server.asked(runId).tokens).toEqual([`Bearer pat_${runId}`]);
  }
  server.tell("run-2", { type: "execution:complete", data: { receipt: "paid" } });
  await eventually(() => {
    expect(result.current.output).toEqual({ receipt: "paid" });
  });
  expect(server.count("run-2")).toEqual({ opened: 1, open: 0 });
  act(() => {
    result.current.reset();
  });
  expect(result.current.status).toBe("idle");
});
