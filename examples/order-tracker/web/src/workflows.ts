// Written by `stepflow generate typescript`: change the Python module server and run it again.
/* eslint-disable */

import type {} from "@stepflow/client";

export interface Approval {
  by: string;
  granted: boolean;
}

export interface Order {
  id: string;
  items: string[];
  shipping: "standard" | "express";
}

export interface OrderInput {
  id: string;
  items: string[];
  shipping?: "standard" | "express";
}

export interface Receipt {
  order: Order;
  total: number;
  outcome: string;
  tracking?: string | null;
}

/** The workflows of the app, by id: what each takes, and what it returns. */
export interface AppWorkflows {
  /** Sell an order, once somebody has approved it. */
  checkout: { input: OrderInput; output: Receipt };
}

/** The events of the app, by id: the payload of each. */
export interface AppEvents {
  [id: `approval/${string}`]: Approval;
}

declare module "@stepflow/client" {
  interface Register {
    workflows: AppWorkflows;
    events: AppEvents;
  }
}
