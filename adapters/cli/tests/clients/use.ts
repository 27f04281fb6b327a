// Uses the clients that are made of the documents. Whatever a document gets wrong does not compile.
import createClient from "openapi-fetch";
import type { paths as Dialflo } from "./dialflo.ts";
import type { paths as Dialro } from "./dialro.ts";
import type { paths as Native } from "./native.ts";
import type { paths as VoxCore } from "./voxcore.ts";
import type { paths as VoxStack } from "./voxstack.ts";

declare const process: { argv: string[] };

const [base, keys] = [process.argv[2], JSON.parse(process.argv[3]) as Record<string, string>];

function check(fact: boolean, message: string): asserts fact {
    if (!fact) throw new Error(message);
}

const dialro = createClient<Dialro>({ baseUrl: `${base}/dialro`, headers: { "x-api-key": keys.dialro } });
const made = await dialro.POST("/api/v1/agents", {
    body: { name: "Sari", systemPrompt: "You are a receptionist.", voiceId: "Puck", maxCallDurationMinutes: 5 },
});
check(made.data !== undefined && made.data.language === "id", "an agent is made");
const agent: string = made.data.id;
const calls = await dialro.GET("/api/v1/calls", { params: { query: { limit: 5 } } });
check(calls.data !== undefined && calls.data.total === 0, "there are no calls yet");
for (const call of calls.data.calls) {
    const status: "ringing" | "answered" | "ended" | "dropped" | "failed" = call.status;
    check(status.length > 0, "a status is a word");
}
const gone = await dialro.GET("/api/v1/agents/{id}", { params: { path: { id: "agent_none" } } });
check(gone.error !== undefined && gone.error.code === "not_found", "a refusal has a form");
const added = await dialro.POST("/api/v1/agents/{id}/functions", {
    params: { path: { id: agent } },
    body: {
        name: "check_appointment", endpoint: "https://your-api.example/check", method: "GET",
        parameters: { type: "object", properties: { phone: { type: "string" } } },
    },
});
const method: "GET" | "POST" | undefined = added.data?.method;
check(method === "GET" && added.data?.parameters.type === "object", "a function is made");
const removed = await dialro.DELETE("/api/v1/agents/{id}/functions/{name}", {
    params: { path: { id: agent, name: "check_appointment" } },
});
check(removed.response.status === 204, "a function is removed");

const voxstack = createClient<VoxStack>({
    baseUrl: `${base}/voxstack`, headers: { Authorization: `Bearer ${keys.voxstack}` },
});
const task = await voxstack.POST("/api/v1/tasks", {
    body: {
        agent_id: agent.replace("agent_", ""), name: "Call", to_number: "+15550100005",
        context_data: { customer_name: "John Doe", order: { id: 7 } }, webhook_events: ["call_completed"],
    },
});
check(task.data !== undefined && task.data.data.status === "pending", "a task is made");
check(task.data.data.context_data.customer_name === "John Doe", "its context is any object");
const begun = await voxstack.POST("/api/v1/tasks/{id}/execute", { params: { path: { id: task.data.data.id } } });
check(begun.data?.success === true && begun.data.data.call_id.length === 36, "its call begins");
const refused = await voxstack.DELETE("/api/v1/agents/{id}", { params: { path: { id: agent.replace("agent_", "") } } });
check(refused.error?.success === false && refused.error.details.code === "conflict", "a refusal has the envelope");

const voxcore = createClient<VoxCore>({ baseUrl: `${base}/voxcore`, headers: { "X-API-Key": keys.voxcore } });
const placed = await voxcore.POST("/api/v1/dialout", {
    body: { bot_id: agent, to_number: "+15550100002", variables: { customer_name: "Rahul", due: { amount: 15000 } } },
});
check(placed.data?.status === "ok", "a call is placed");
const missing = await voxcore.POST("/api/v1/dialout", { body: { bot_id: "none", to_number: "+15550100002" } });
check(missing.error?.detail === "Bot not found", "a refusal has a detail");
const fleet = await voxcore.GET("/health/fleet");
check((fleet.data?.fleet_available ?? 0) > 0, "there is room");

const dialflo = createClient<Dialflo>({ baseUrl: `${base}/dialflo`, headers: { auth_token: `Bearer ${keys.dialflo}` } });
const queued = await dialflo.POST("/call", {
    body: { agent_name: "Sari", to_number: "15550100002", call_context: { job: "driver" } },
});
check(queued.data?.status === "queued", "a task is queued");
const details = await dialflo.GET("/call_details/{task_id}", { params: { path: { task_id: queued.data.task_id } } });
check(Array.isArray(details.data), "its calls are a list");

const native = createClient<Native>({ baseUrl: base, headers: { "X-API-Key": keys.dialro } });
const changed = await native.PATCH("/agents/{id}", {
    params: { path: { id: agent } }, body: { policy: { record: false } },
});
check(changed.data !== undefined && "policy" in changed.data, "a policy is changed");
const wrong = await native.PATCH("/agents/{id}", {
    params: { path: { id: agent } }, body: { policy: { set_up_timeout_ms: 0 } },
});
check(wrong.error?.error === "policy.set_up_timeout_ms: is not 100 to 600000", JSON.stringify(wrong.error));
console.log("used");
