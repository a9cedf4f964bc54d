// In place of @grafana/assistant, which the flame graph's header imports for a button that is not shown here.
export const OpenAssistantButton = () => null;
export const createAssistantContextItem = () => null;
export const useAssistant = () => ({ isAvailable: false });
export const isAssistantAvailable = () => ({ subscribe: () => ({ unsubscribe() {} }) });
