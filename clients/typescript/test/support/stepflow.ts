// Stepflow: a real `stepflow serve` with a worker in it, which can be killed and started again.

import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { python, ROOT } from "./paths.js";

export const SECRET = "sf_client_secret_0123456789";
export const PUBLIC = "sf_pub_client_0123456789";

const PROGRAM = "stepflow.testing.adapter_contract.program:app";

/** The empty store that these tests are run on; memory, and a file where a server has to remember, unless somebody names one. */
const STORE = process.env["STEPFLOW_TEST_STORE"];

/** The contract's own program on a storage; each start takes a free port. */
export class Stepflow {
  port = 0;
  private process: ChildProcess | undefined;
  private readonly storage: string;

  constructor(usual = "memory://") {
    this.storage = STORE ?? usual;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  async start(): Promise<this> {
    const process_ = spawn(
      python(),
      ["-m", "stepflow", "serve", PROGRAM, "--port", "0", "--worker", "--json", "--quiet"],
      {
        cwd: ROOT,
        stdio: ["ignore", "pipe", "pipe"],
        env: {
          ...process.env,
          STEPFLOW_CONTRACT_STORAGE: this.storage,
          STEPFLOW_API_KEY: SECRET,
          STEPFLOW_PUBLIC_KEY: PUBLIC,
          STEPFLOW_PUBLIC_WORKFLOWS: "echo,talk,two-waits",
        },
      },
    );
    this.process = process_;
    const said: string[] = []; // of what it says, only what it said last is of interest, and only if it does not start
    createInterface({ input: process_.stderr }).on("line", (line) => said.push(line) > 40 && said.shift());
    const lines = createInterface({ input: process_.stdout });
    const [line] = (await Promise.race([once(lines, "line"), ended(process_, said)])) as [string];
    this.port = Number(new URL((JSON.parse(line) as { address: string }).address).port);
    return this;
  }

  /** As if the power went: nothing is said to anybody. */
  async kill(): Promise<void> {
    const { process } = this;
    this.process = undefined;
    if (process?.exitCode !== null) return;
    const exit = once(process, "exit");
    process.kill("SIGKILL");
    await exit;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}

async function ended(process: ChildProcess, said: readonly string[]): Promise<never> {
  const [code] = (await once(process, "close")) as [number];
  throw new Error(`stepflow serve ended with ${code} before it was ready:\n${said.join("\n")}`);
}
