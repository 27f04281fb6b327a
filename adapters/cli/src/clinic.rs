//! The agent of the demo: the receptionist of a clinic, with one function.

use std::time::Duration;

use offhook::ids::AgentId;
use offhook::provider::llm::Tool;
use offhook::runtime::{Runtime, random_id_bytes};
use offhook::service::agents::{Agent, Function};
use offhook::signing::Secret;
use serde_json::{Value, json};

/// The caller's number, which has an appointment.
pub const PATIENT: &str = "+628123456789";

/// The clinic's own number.
pub const CLINIC: &str = "+622150001000";

/// The function's name.
pub const CHECK_APPOINTMENT: &str = "check_appointment";

/// The function's parameter.
pub const PHONE_NUMBER: &str = "phone_number";

/// The agent's voice.
pub const VOICE: &str = "en-US";

/// The detector of speech wants two windows of 32 ms for itself; the agent gives way as soon as it is sure.
const BARGE_IN_SPEECH_MIN: Duration = Duration::from_millis(60);

const GREETING: &str = "Good morning, {{clinic.name}}, this is {{agent.name}}. How can I help you?";

const PROMPT: &str = "\
You are {{agent.name}}, the receptionist of {{clinic.name}}, on the telephone with {{call.from}}.
Answer in one to three short sentences of plain spoken English, without lists or symbols.
{{clinic.name}} is open Monday to Friday from eight in the morning until half past six in the evening and on Saturdays \
from nine until one. It is closed on Sundays and public holidays.
When somebody asks about an appointment, call check_appointment with the telephone number in E.164 form, such as \
+628123456789, and say what it answers. Ask for the number if you do not have it.
When the caller says goodbye, say goodbye and call end_call.";

/// The receptionist. Requests of the function go to `function_url`, signed with `secret`.
pub fn receptionist(runtime: &dyn Runtime, function_url: String, secret: Secret) -> Agent {
    let id = AgentId::new(runtime.wall_clock(), random_id_bytes(runtime));
    let mut agent = Agent::new(id, "Maya", PROMPT);
    agent.functions = vec![Function::new(function_url, tool()).signed(secret)];
    agent.greeting = Some(GREETING.to_owned());
    agent.policy.barge_in.speech_min = BARGE_IN_SPEECH_MIN;
    agent.variables.insert("clinic".to_owned(), json!({ "name": "Bloom Clinic" }));
    agent.voice = Some(VOICE.to_owned());
    agent
}

/// What the clinic's calendar says about a number.
pub fn appointment_of(number: &str) -> Value {
    if number != PATIENT {
        return json!({ "found": false });
    }
    json!({
        "found": true,
        "day": "Tuesday",
        "time": "half past ten in the morning",
        "doctor": "Doctor Sari",
    })
}

fn tool() -> Tool {
    Tool {
        description: "Looks up the next appointment of a patient by telephone number.".to_owned(),
        name: CHECK_APPOINTMENT.to_owned(),
        parameters: json!({
            "type": "object",
            "properties": {
                PHONE_NUMBER: {
                    "type": "string",
                    "description": "The patient's telephone number in E.164 form, such as +628123456789.",
                    "pattern": "^\\+[1-9][0-9]{1,14}$",
                },
            },
            "required": [PHONE_NUMBER],
            "additionalProperties": false,
        }),
    }
}
