// StepflowProvider: which client the hooks below it use.

import { createContext, createElement, useContext, type ReactNode } from "react";
import type { StepflowClient } from "@stepflow/client";

const Client = createContext<StepflowClient | undefined>(undefined);

export interface StepflowProviderProps {
  /** Made once, outside of components or in a state: all components below share its connections. */
  client: StepflowClient;
  children?: ReactNode;
}

/** Gives the hooks below it their client. */
export function StepflowProvider({ client, children }: StepflowProviderProps): ReactNode {
  return createElement(Client.Provider, { value: client }, children);
}

/** The provider's client, for whatever there is no hook for. */
export function useStepflowClient(): StepflowClient {
  const client = useContext(Client);
  if (!client)
    throw new Error(
      "there is no <StepflowProvider client={…}> above this component; put one around your app",
    );
  return client;
}
