// Streams on a phone: read while they come, at rest in the background, whole when the app is back.
import { act, cleanup, render, renderHook, screen, waitFor } from "@testing-library/react-native";
import { StrictMode, type ReactElement, type ReactNode } from "react";
import { Text } from "react-native";
import type { StepflowClient } from "@stepflow/client";
import {
  createNativeClient,
  Reachability,
  StepflowProvider,
  useRun,
  useRunStream,
  useTriggerAndFollow,
} from "@stepflow/react-native";
import { Network, put } from "../phone/phone";
import { json, ScriptedServer } from "../../../react/test/scripted-server";

const LONG = { timeout: 15_000 };
let server: ScriptedServer;
let network: Network;
let reachability: Reachability;
let client: StepflowClient;

beforeEach(async () => {
  server = await ScriptedServer.start();
  server.add("r1");
  network = new Network();
  reachability = new Reachability({ network });
  client = createNativeClient({ baseUrl: server.baseUrl, apiKey: "sf_secret", reachability });
});

afterEach(async () => {
  cleanup();
  put("active");
  reachability.close();
  await server.close();
});

function wrapper({ children }: { children: ReactNode }): ReactElement {
  return (
    <StrictMode>
      <StepflowProvider client={client}>{children}</StepflowProvider>
    </StrictMode>
  );
}

function step(key: string, result: unknown = null) {
  return { type: "step:complete" as const, stepName: key, key, attempt: 1, result };
}

test("this phone has none of what only browsers have", () => {
  for (const name of ["fetch", "ReadableStream", "EventSource", "TextDecoder", "crypto", "structuredClone"]) {
    expect(name in globalThis).toBe(false);
  }
  expect(AbortSignal).not.toHaveProperty("any");
});

test("a run is live on the screen, on one connection for all that show it", async () => {
  function Status(): ReactNode {
    const { status, steps } = useRun("checkout", "r1");
    return <Text>{`${status} ${steps.length}`}</Text>;
  }
  render(wrapper({ children: [<Status key="one" />, <Status key="other" />] }));
  expect(screen.getAllByText("loading 0")).toHaveLength(2);
  expect(await screen.findAllByText("running 0", {}, LONG)).toHaveLength(2);

  server.tell("r1", step("größe", "héllo 🎉 ".repeat(20_000))); // many pieces, cut within letters
  expect(await screen.findAllByText("running 1", {}, LONG)).toHaveLength(2);
  server.tell("r1", { type: "execution:complete", data: { receipt: "paid" } });
  expect(await screen.findAllByText("completed 1", {}, LONG)).toHaveLength(2);
  expect(server.count("r1")).toEqual({ opened: 1, open: 0 });
});

test("text arrives as it was sent, wherever it is cut", async () => {
  const { result } = renderHook(() => useRun("r1"), { wrapper });
  await waitFor(() => expect(result.current.status).toBe("running"), LONG);
  const sent = "ß–漢字🎉\r\n".repeat(30_000);
  server.tell("r1", step("long", sent));
  await waitFor(() => expect(result.current.steps[0]?.result === sent).toBe(true), LONG);
});

test("in the background the stream rests, and goes on behind the last event", async () => {
  const { result } = renderHook(() => useRunStream("r1"), { wrapper });
  await waitFor(() => expect(result.current.connection).toBe("open"), LONG);
  server.tell("r1", step("a"));
  await waitFor(() => expect(result.current.latest).toMatchObject({ key: "a" }), LONG);

  put("background");
  await waitFor(() => expect(server.count("r1").open).toBe(0), LONG);
  await waitFor(() => expect(result.current.connection).not.toBe("open"), LONG);
  server.tell("r1", step("b"));
  server.tell("r1", step("c"));
  expect(server.count("r1").opened).toBe(1);

  put("active");
  await waitFor(() => expect(result.current.latest).toMatchObject({ key: "c" }), LONG);
  const keys = result.current.events.map((event) => ("key" in event ? event.key : event.type));
  expect(keys).toEqual(["run", "a", "b", "c"]);
  expect(server.asked("r1").cursors).toEqual([undefined, "1.0"]);
});

test("what passes (a call, the control centre) does not disturb it", async () => {
  const { result } = renderHook(() => useRun("r1"), { wrapper });
  await waitFor(() => expect(result.current.connection).toBe("open"), LONG);
  put("inactive");
  put("active");
  server.tell("r1", step("a"));
  await waitFor(() => expect(result.current.steps).toHaveLength(1), LONG);
  expect(server.count("r1")).toEqual({ opened: 1, open: 1 });
});

test("without a network it rests as well, and is back at once when there is one", async () => {
  const { result } = renderHook(() => useRun("r1"), { wrapper });
  await waitFor(() => expect(result.current.connection).toBe("open"), LONG);
  network.set(false);
  await waitFor(() => expect(server.count("r1").open).toBe(0), LONG);
  server.tell("r1", { type: "execution:complete", data: { receipt: "paid" } });
  expect(result.current.status).toBe("running");
  network.set(true);
  await waitFor(() => expect(result.current.status).toBe("completed"), LONG);
});

test("a component that appears in the background connects when the app is in sight", async () => {
  put("background");
  const { result } = renderHook(() => useRun("r1"), { wrapper });
  await waitFor(() => expect(result.current.connection).toBe("connecting"), LONG);
  expect(server.requests).toEqual([]);
  put("active");
  await waitFor(() => expect(result.current.status).toBe("running"), LONG);
});

test("a connection that breaks is made again without being told of a network", async () => {
  const { result } = renderHook(() => useRun("r1"), { wrapper });
  await waitFor(() => expect(result.current.connection).toBe("open"), LONG);
  server.cut("r1");
  server.tell("r1", step("a"), step("b"));
  await waitFor(() => expect(result.current.steps.map(({ key }) => key)).toEqual(["a", "b"]), LONG);
});

test("a stream is renewed before it fills the memory, between two events: no gap, nothing twice", async () => {
  const seen: string[] = [];
  const onEvent = (event: { type: string; key?: string }): void => {
    if (event.key !== undefined) seen.push(event.key);
  };
  const { result } = renderHook(() => useRunStream("r1", { onEvent }), { wrapper });
  await waitFor(() => expect(result.current.connection).toBe("open"), LONG);
  const keys = Array.from({ length: 12 }, (_, index) => `s${index}`);
  for (const [index, key] of keys.entries()) {
    server.tell("r1", step(key, "x".repeat(200_000)));
    await waitFor(() => expect(seen).toHaveLength(index + 1), LONG);
  }
  expect(seen).toEqual(keys);
  expect(server.count("r1").opened).toBeGreaterThan(1);
  expect(server.count("r1").opened).toBeLessThan(5);
});

test("an answer that the server was asked to hold back is waited for", async () => {
  const impatient = createNativeClient({
    baseUrl: server.baseUrl,
    apiKey: "sf_secret",
    reachability,
    timeout: 50,
  });
  server.get = (url, response) => {
    expect(url).toBe("/runs/r1?wait=30s");
    setTimeout(() => json(response, 200, { ...server.runOf("r1"), status: "completed", output: 7 }), 200);
    return true;
  };

  expect(await impatient.waitForResult("r1")).toBe(7);
  expect(server.requests).toHaveLength(1);
});

test("a refusal ends it, and says why", async () => {
  const { result } = renderHook(() => useRun("r2"), { wrapper });
  await waitFor(() => expect(result.current.status).toBe("unavailable"), LONG);
  expect(result.current.error?.name).toBe("RunNotFoundError");
});

test("a run is started and followed", async () => {
  const { result } = renderHook(() => useTriggerAndFollow("checkout"), { wrapper });
  act(() => {
    void result.current.trigger({ total: 1 });
  });
  await waitFor(() => expect(result.current.status).toBe("running"), LONG);
  const runId = result.current.run?.id ?? "";
  server.tell(runId, { type: "execution:complete", data: { receipt: "paid" } });
  await waitFor(() => expect(result.current.output).toEqual({ receipt: "paid" }), LONG);
  expect(server.requests[0]).toMatchObject({ method: "POST", url: "/trigger/checkout", body: { total: 1 } });
});

test("the connection closes after the last component has gone", async () => {
  const { result, unmount } = renderHook(() => useRun("r1"), { wrapper });
  await waitFor(() => expect(result.current.connection).toBe("open"), LONG);
  unmount();
  await waitFor(() => expect(server.count("r1")).toEqual({ opened: 1, open: 0 }), LONG);
});
