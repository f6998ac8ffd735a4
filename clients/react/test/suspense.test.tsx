// @vitest-environment jsdom
// useSuspenseRun: the boundary waits until there is a run, or an error.
import { act, fireEvent, render, screen } from "@testing-library/react";
import { Component, StrictMode, Suspense, type ReactNode } from "react";
import { StepflowClient } from "@stepflow/client";
import { afterEach, beforeEach, expect, onTestFinished, test, vi } from "vitest";
import { StepflowProvider, useSuspenseRun } from "../src/index.js";
import { eventually } from "./eventually.js";
import { ScriptedServer } from "./scripted-server.js";

let server: ScriptedServer;
let client: StepflowClient;

beforeEach(async () => {
  server = await ScriptedServer.start();
  client = new StepflowClient({ baseUrl: server.baseUrl, apiKey: "sf_secret" });
});

afterEach(async () => {
  await server.close();
});

class Boundary extends Component<{ children: ReactNode }, { error: Error | undefined }> {
  override state = { error: undefined };

  static getDerivedStateFromError(error: Error): { error: Error } {
    return { error };
  }

  override render(): ReactNode {
    const { error } = this.state as { error: Error | undefined };
    if (!error) return this.props.children;
    const again = (): void => {
      this.setState({ error: undefined });
    };
    return <button onClick={again}>{error.name}</button>;
  }
}

function Status(): ReactNode {
  const { run, status } = useSuspenseRun("checkout", "r1");
  return <p>{`${run.id} is ${status}`}</p>;
}

function page(children: ReactNode): ReactNode {
  return (
    <StrictMode>
      <StepflowProvider client={client}>
        <Boundary>
          <Suspense fallback={<i>wait</i>}>{children}</Suspense>
        </Boundary>
      </StepflowProvider>
    </StrictMode>
  );
}

test("the fallback stands until the run is known; then it is live, on the same connection", async () => {
  server.add("r1");
  render(page([<Status key="one" />, <Status key="other" />]));
  expect(screen.getByText("wait")).toBeDefined();

  expect(await screen.findAllByText("r1 is running")).toHaveLength(2);
  server.tell("r1", { type: "execution:complete", data: { receipt: "paid" } });
  expect(await screen.findAllByText("r1 is completed")).toHaveLength(2);
  expect(server.count("r1")).toEqual({ opened: 1, open: 0 });
});

test("an error goes to the error boundary, and to ask again later is a new attempt", async () => {
  // React 18 also lets the page report what a boundary has caught.
  const quiet = (event: Event): void => {
    event.preventDefault();
  };
  window.addEventListener("error", quiet);
  onTestFinished(() => {
    window.removeEventListener("error", quiet);
  });
  render(page(<Status />));
  const button = await screen.findByText("RunNotFoundError");
  vi.mocked(console.error).mockClear(); // React reports what a test provoked

  server.add("r1");
  await eventually(() => {
    const again = screen.queryByText("RunNotFoundError");
    if (again) fireEvent.click(again);
    expect(screen.getByText("r1 is running")).toBeDefined();
  });
  expect(button.isConnected).toBe(false);
  vi.mocked(console.error).mockClear();
});

test("what was opened for a component that never came is given up", async () => {
  server.add("r1");
  const { unmount } = render(page(<Status />));
  act(unmount);
  await eventually(() => {
    expect(server.count("r1").opened).toBe(1);
  });
  await eventually(() => {
    expect(server.count("r1").open).toBe(0);
  });
});
