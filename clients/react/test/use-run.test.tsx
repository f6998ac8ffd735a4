// @vitest-environment jsdom
// useRun tells what is known of a run, and what can't be known.
import { act, renderHook } from "@testing-library/react";
import { version, type ReactNode } from "react";
import { RunNotFoundError, StepflowClient, TokenManager, type Run } from "@stepflow/client";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { StepflowProvider, useRun, useRunStream } from "../src/index.js";
import { eventually } from "./eventually.js";
import { json, problem, ScriptedServer } from "./scripted-server.js";

let server: ScriptedServer;
let client: StepflowClient;

beforeEach(async () => {
  server = await ScriptedServer.start();
  client = new StepflowClient({ baseUrl: server.baseUrl, publicApiKey: "sf_pub_1" });
});

afterEach(async () => {
  await server.close();
});

function wrapper({ children }: { children: ReactNode }): ReactNode {
  return <StepflowProvider client={client}>{children}</StepflowProvider>;
}

test("these tests run on the React that they are meant for", () => {
  expect(`React ${version.split(".")[0] ?? ""}`).toBe(process.env["REACT_UNDER_TEST"]);
});

test("a run is loading, then what it is, and completed with its output", async () => {
  server.add("r1", { status: "queued" });
  const { result } = renderHook(() => useRun("checkout", "r1"), { wrapper });
  expect(result.current).toMatchObject({ status: "loading", run: undefined, isEnded: false });

  await eventually(() => {
    expect(result.current.status).toBe("queued");
  });
  expect(result.current).toMatchObject({ run: { id: "r1" }, connection: "open", error: undefined });
  server.tell("r1", { type: "run:resumed", takeover: false });
  await eventually(() => {
    expect(result.current.status).toBe("running");
  });
  server.tell("r1", { type: "execution:complete", data: { receipt: "paid" } });
  await eventually(() => {
    expect(result.current.status).toBe("completed");
  });
  expect(result.current).toMatchObject({ output: { receipt: "paid" }, isEnded: true, connection: "closed" });
});

test("a run that failed has its failure, which is no error of ours", async () => {
  const failure = { type: "CardError", message: "declined" };
  server.add("r1", { status: "failed", error: failure });
  const { result } = renderHook(() => useRun("checkout", "r1"), { wrapper });

  await eventually(() => {
    expect(result.current.status).toBe("failed");
  });
  expect(result.current).toMatchObject({ failure, output: undefined, error: undefined });
});

test("an output that is too large for a stream is there all the same", async () => {
  const whole = { receipt: "x".repeat(70_000) };
  server.add("r1", { status: "completed", output: { omitted: 70_014 } as unknown as null });
  server.get = (url, response) => {
    if (!url.includes("full=true")) return false;
    json(response, 200, { ...server.runOf("r1"), output: whole });
    return true;
  };
  const { result } = renderHook(() => useRun("checkout", "r1"), { wrapper });
  await eventually(() => {
    expect(result.current.output).toEqual(whole);
  });
});

test("a run that can't be had is unavailable, and is asked for anew by refresh", async () => {
  const { result } = renderHook(() => useRun("r1"), { wrapper });
  await eventually(() => {
    expect(result.current.status).toBe("unavailable");
  });
  expect(result.current.error).toBeInstanceOf(RunNotFoundError);

  server.add("r1");
  act(() => {
    result.current.refresh();
  });
  await eventually(() => {
    expect(result.current.status).toBe("running");
  });
  expect(result.current.error).toBeUndefined();
});

test("a failed run that an operator retried is seen again by refresh", async () => {
  server.add("r1", { status: "failed" });
  const { result } = renderHook(() => useRun("r1"), { wrapper });
  await eventually(() => {
    expect(result.current.status).toBe("failed");
  });

  server.add("r1", { status: "running", attempt: 2 });
  act(() => {
    result.current.refresh();
  });
  await eventually(() => {
    expect(result.current).toMatchObject({ status: "running", run: { attempt: 2 } });
  });
});

test("no run is idle, and asks for nothing", async () => {
  const { result, rerender } = renderHook(({ id }) => useRun("checkout", id), {
    wrapper,
    initialProps: { id: null as string | null },
  });
  expect(result.current.status).toBe("idle");
  expect(server.requests).toEqual([]);

  server.add("r1");
  rerender({ id: "r1" });
  expect(result.current.status).toBe("loading");
  await eventually(() => {
    expect(result.current.status).toBe("running");
  });
});

test("what a server has read already is shown until there is news", async () => {
  server.add("r1", { status: "running" });
  const initialRun = { ...server.runOf("r1"), status: "queued" } as Run<"checkout">;
  const { result } = renderHook(() => useRun("checkout", "r1", { initialRun }), { wrapper });
  expect(result.current.status).toBe("queued");
  await eventually(() => {
    expect(result.current.status).toBe("running");
  });
});

test("a run is watched with its own token, and a refusal is tried again with another one", async () => {
  server.add("r1");
  server.get = (_, response, { authorization }) => {
    if (authorization === "Bearer pat_good") return false;
    problem(response, 401, "unauthenticated");
    return true;
  };
  const { result, rerender } = renderHook(({ accessToken }) => useRun("r1", { accessToken }), {
    wrapper,
    initialProps: { accessToken: "pat_bad" },
  });
  await eventually(() => {
    expect(result.current.status).toBe("unavailable");
  });
  rerender({ accessToken: "pat_good" });
  await eventually(() => {
    expect(result.current.status).toBe("running");
  });
});

test("a token that is made anew with every rendering opens nothing anew", async () => {
  server.add("r1");
  const { result, rerender } = renderHook(() => useRun("r1", { accessToken: () => "pat_fresh" }), {
    wrapper,
  });
  await eventually(() => {
    expect(result.current.status).toBe("running");
  });
  for (let time = 0; time < 10; time++) rerender();
  server.tell("r1", { type: "run:paused", reason: "asked", detail: "" });
  await eventually(() => {
    expect(result.current.status).toBe("paused");
  });
  expect(server.asked("r1").tokens).toEqual(["Bearer pat_fresh"]);
});

test("a refused token that is made anew with every rendering is not asked for without end", async () => {
  server.add("r1");
  let refused = 0;
  server.get = (_, response) => {
    refused++;
    problem(response, 403, "forbidden");
    return true;
  };
  const { result, rerender } = renderHook(() => useRun("r1", { accessToken: () => "pat_bad" }), { wrapper });
  await eventually(() => {
    expect(result.current.status).toBe("unavailable");
  });
  for (let time = 0; time < 10; time++) rerender();
  expect(result.current.status).toBe("unavailable");
  expect(refused).toBe(1);
});

test("the tokens that the client keeps are used without being named", async () => {
  const tokens = new TokenManager();
  client = new StepflowClient({ baseUrl: server.baseUrl, publicApiKey: "sf_pub_1", tokens });
  await tokens.set("r1", "pat_kept");
  server.add("r1");
  const { result } = renderHook(() => useRun("r1"), { wrapper });
  await eventually(() => {
    expect(result.current.status).toBe("running");
  });
  expect(server.asked("r1").tokens).toEqual(["Bearer pat_kept"]);
});

test("a stream from the start tells all that ever happened, on one connection of its own", async () => {
  server.add("r1");
  server.tell("r1", { type: "run:resumed", takeover: false });
  server.tell("r1", { type: "step:complete", stepName: "charge", key: "charge", attempt: 1, result: 1 });
  const { result } = renderHook(
    () => ({
      run: useRun("r1"),
      all: useRunStream("r1", { from: "start" }),
      same: useRunStream("checkout", "r1", { from: "start" }),
    }),
    { wrapper },
  );
  await eventually(() => {
    expect(result.current.all.events.map(({ type }) => type)).toEqual(["run:resumed", "step:complete"]);
  });
  expect(result.current.same.events).toBe(result.current.all.events);
  expect(server.asked("r1").cursors.sort()).toEqual(["0", undefined]);
});

test("a listener's error does no harm to the others", async () => {
  server.add("r1");
  const uncaught = vi.fn();
  process.once("uncaughtException", uncaught);
  const listeners = process.listeners("uncaughtException").filter((each) => each !== uncaught);
  for (const each of listeners) process.off("uncaughtException", each);
  try {
    const onEvent = (): void => {
      throw new Error("a mistake in the program");
    };
    const { result } = renderHook(() => [useRunStream("r1", { onEvent }), useRun("r1")] as const, {
      wrapper,
    });
    await eventually(() => {
      expect(result.current[1].status).toBe("running");
    });
    await eventually(() => {
      expect(uncaught).toHaveBeenCalledOnce();
    });
  } finally {
    for (const each of listeners) process.on("uncaughtException", each);
  }
});
