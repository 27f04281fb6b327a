"""Uses the clients that are made of the documents."""

import json
import sys

import dialflo
import dialro
import native
import voxcore
import voxstack
from dialflo.api.calls import create_call, get_call_details
from dialflo.models import DialfloNewCall
from dialro.api.agents import create_agent, get_agent, list_agents
from dialro.api.credits_ import get_credits
from dialro.models import DialroAgent, DialroNewAgent, DialroRefusal
from native.api.health import get_health
from voxcore.api.calls import dialout
from voxcore.models import VoxcoreDialout
from voxstack.api.tasks import create_task, list_tasks
from voxstack.models import VoxstackNewTask

base, keys = sys.argv[1], json.loads(sys.argv[2])


def client(package, name, header, prefix=""):
    made = package.AuthenticatedClient(f"{base}{name}", keys[header[0]], prefix=prefix, auth_header_name=header[1])
    return made


ours = client(dialro, "/dialro", ("dialro", "x-api-key"))
agent = create_agent.sync(client=ours, body=DialroNewAgent.from_dict({"name": "Maya", "systemPrompt": "You help."}))
assert isinstance(agent, DialroAgent) and agent.language == "id", agent
assert agent.id in [one.id for one in list_agents.sync(client=ours).agents]
assert get_credits.sync(client=ours).balance_minutes > 0
missing = get_agent.sync(id="agent_none", client=ours)
assert isinstance(missing, DialroRefusal) and missing.code == "not_found", missing

theirs = client(voxstack, "/voxstack", ("voxstack", "Authorization"), "Bearer")
wish = VoxstackNewTask.from_dict({
    "agent_id": agent.id.removeprefix("agent_"), "name": "Call", "to_number": "+15550100005",
    "context_data": {"customer_name": "John Doe"},
})
task = create_task.sync(client=theirs, body=wish)
assert task.data.status == "pending" and task.data.context_data["customer_name"] == "John Doe", task
assert list_tasks.sync(client=theirs).meta.pagination.total >= 1

fleet = client(voxcore, "/voxcore", ("voxcore", "X-API-Key"))
order = VoxcoreDialout.from_dict({"bot_id": agent.id, "to_number": "+15550100002", "variables": {"name": "Rahul"}})
assert dialout.sync(client=fleet, body=order).status == "ok"

flows = client(dialflo, "/dialflo", ("dialflo", "auth_token"), "Bearer")
call = DialfloNewCall(to_number="15550100002", agent_name="Maya")
queued = create_call.sync(client=flows, body=call)
assert isinstance(get_call_details.sync(task_id=queued.task_id, client=flows), list)

assert get_health.sync(client=native.Client(base)).status == "ok"
print("used")
