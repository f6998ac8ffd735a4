// The screens of examples/expo-approvals, on React Native, against the example's own server: only the phone's native half is ours.
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { cleanup, fireEvent, render, screen, waitFor } from "@testing-library/react-native";
import type { ReactElement } from "react";
import { Disk, Network } from "../phone/phone";

const ROOT = resolve(__dirname, "../../../..");
const EXAMPLE = join(ROOT, "examples/expo-approvals");
const LONG = { timeout: 20_000 };

const mockNetwork = new Network();
const mockDisk = new Disk();
const mockSecrets = new Disk();
jest.mock("@react-native-community/netinfo", () => ({ __esModule: true, default: mockNetwork }));
jest.mock("@react-native-async-storage/async-storage", () => ({ __esModule: true, default: mockDisk }));
jest.mock("expo-secure-store", () => ({
  getItemAsync: mockSecrets.getItem,
  setItemAsync: mockSecrets.setItem,
  deleteItemAsync: mockSecrets.removeItem,
}));

let folder: string;
let process_: ChildProcess;
let address: string;
let App: () => ReactElement;

/** uvicorn says on which port it listens; its worker is in it. */
async function serve(): Promise<void> {
  folder = mkdtempSync(join(tmpdir(), "stepflow-approvals-"));
  const python = process.env["STEPFLOW_PYTHON"] ?? join(ROOT, ".venv/bin/python");
  const path = [EXAMPLE, process.env["PYTHONPATH"] ?? ""].join(delimiter);
  process_ = spawn(python, ["-m", "uvicorn", "office:api", "--port", "0"], {
    cwd: folder,
    env: { ...process.env, STEPFLOW_WORKER: "1", PYTHONPATH: path },
    stdio: ["ignore", "ignore", "pipe"],
  });
  const said: string[] = [];
  for await (const line of createInterface({ input: process_.stderr! })) {
    said.push(line);
    const found = /running on (http:\/\/127\.0\.0\.1:\d+)/.exec(line)?.[1];
    if (found === undefined) continue;
    address = found;
    process_.stderr!.resume(); // what it says further is of no interest, but must not fill its pipe
    return;
  }
  throw new Error(`the example's server ended before it was ready:\n${said.join("\n")}`);
}

beforeAll(async () => {
  await serve();
  process.env["EXPO_PUBLIC_SERVER"] = address;
  // React Native's own fetch, which a phone has from the start.
  Object.assign(globalThis, require("react-native/Libraries/Network/fetch"));
  App = (require("../../../../examples/expo-approvals/src/app") as { App: () => ReactElement }).App;
}, 60_000);

afterAll(async () => {
  const { queue, reachability } = require("../../../../examples/expo-approvals/src/office") as {
    queue: { close: () => void };
    reachability: { close: () => void };
  };
  queue.close();
  reachability.close();
  const ended = once(process_, "exit");
  process_.kill("SIGKILL");
  await ended;
  rmSync(folder, { recursive: true });
});

afterEach(cleanup);

async function submit(id: string, purpose: string): Promise<void> {
  const response = await fetch(`${address}/expenses`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ id, employee: "Ada", purpose, amount: 40 }),
  });
  expect(await response.json()).toBe(`expense-${id}`);
}

/** Opens the expense; the list is pulled down until it is there. */
async function open(purpose: string): Promise<void> {
  render(<App />);
  await waitFor(() => {
    if (screen.queryByText("Nothing waits")) fireEvent(screen.getByTestId("approvals"), "refresh");
    screen.getByText(purpose);
  }, LONG);
  fireEvent.press(screen.getByText(purpose));
  await screen.findByText("decision: waiting", {}, LONG);
}

test("an expense is approved, and its steps are seen as they complete", async () => {
  await submit("1", "A train to Oslo");
  await open("A train to Oslo");
  screen.getByText("check-budget: completed");
  screen.getByText("Ada asks for 40");

  fireEvent.press(screen.getByText("Approve"));

  await screen.findByText("approved by Grace", {}, LONG);
  for (const name of ["check-budget", "decision", "pay", "tell-employee"])
    screen.getByText(`${name}: completed`);
  fireEvent.press(screen.getByText("Back"));
  await screen.findByText("Nothing waits", {}, LONG);
});

test("a rejection without a network is kept on the phone, and sent when there is one", async () => {
  await submit("2", "A yacht");
  await open("A yacht");
  mockNetwork.set(false);

  fireEvent.press(screen.getByText("Reject"));
  await screen.findByText("Kept, to be sent when there is a network", {}, LONG);
  expect([...mockDisk.files.values()].join("")).toContain('"approved":false');
  screen.getByText("decision: waiting");
  mockNetwork.set(true);

  await screen.findByText("rejected by Grace", {}, LONG);
  expect(screen.queryByText("pay: completed")).toBeNull();
  expect(screen.queryByText("Kept, to be sent when there is a network")).toBeNull();
});

test("the right to decide is in the phone's secure store, and asked for anew when it is lost", async () => {
  await submit("3", "A lamp");
  await open("A lamp");
  expect([...mockSecrets.files.keys()].some((key) => key.includes("expense-3"))).toBe(true);
  mockSecrets.files.clear();

  fireEvent.press(screen.getByText("Approve"));

  await screen.findByText("approved by Grace", {}, LONG);
  expect([...mockSecrets.files.keys()].some((key) => key.includes("expense-3"))).toBe(true);
});
