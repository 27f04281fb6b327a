//! How a server is set: a TOML file, `OFFHOOK_…` variables before it, the command line before both.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use offhook::dialect::Dialect;
use offhook::provider::reach::{Networks, Reach};
use offhook::provider::telephony::E164;
use offhook_otel::Collector;
use serde::Deserialize;

use crate::args::{HouseArgs, LlmName, ModelArgs, ServeArgs};
use crate::failure::{Failure, Outcome};

/// The sample, which is also the documentation of every setting.
pub const SAMPLE: &str = include_str!("../offhook.sample.toml");

const LISTEN_DEFAULT: &str = "127.0.0.1:8080";
const DATA_DEFAULT: &str = "offhook-data";
const DRAIN_DEFAULT: Duration = Duration::from_secs(60);

/// Where variables begin that set something.
const PREFIX: &str = "OFFHOOK_";
const OTEL: &str = "OTEL_";

/// The file, as it is written. See the [sample](SAMPLE).
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    caller_id: Option<String>,
    cors: Vec<String>,
    data: Option<PathBuf>,
    listen: Option<SocketAddr>,
    postgres: Option<String>,
    public_url: Option<String>,
    root: Option<String>,
    calls: CallsFile,
    model: Option<ModelFile>,
    telemetry: TelemetryFile,
    tls: Option<TlsFile>,
    voxcore: VoxcoreFile,
    webhooks: WebhooksFile,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct CallsFile {
    drain_seconds: Option<u64>,
    max: Option<u32>,
    max_per_tenant: Option<u32>,
    time_scale: Option<NonZeroU32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelFile {
    key_env: Option<String>,
    name: String,
    url: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TelemetryFile {
    otlp_endpoint: Option<String>,
    /// Exactly where traces go; only the environment says so.
    #[serde(skip)]
    traces_endpoint: Option<String>,
    #[serde(skip)]
    headers: Option<String>,
    #[serde(skip)]
    service: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsFile {
    certificate: PathBuf,
    key: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct VoxcoreFile {
    allow: Vec<String>,
    require_key: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct WebhooksFile {
    allow: Vec<String>,
}

/// How a server is set, after all.
#[derive(Clone, Debug)]
pub struct Config {
    /// Shown to those who are called by agents without a number of their own.
    pub caller_id: Option<E164>,
    /// Calls at once.
    pub calls_max: Option<u32>,
    /// Calls at once of a tenant that has no limit of its own.
    pub calls_max_per_tenant: Option<u32>,
    /// Origins whose pages may ask.
    pub cors: Vec<String>,
    /// The folder.
    pub data: PathBuf,
    /// How long calls may go on when the server stops.
    pub drain: Duration,
    /// Where spans go; `None` makes none.
    pub collector: Option<Collector>,
    /// The port.
    pub listen: SocketAddr,
    /// What agents think with.
    pub model: ModelArgs,
    /// The database, in place of SQLite.
    pub postgres: Option<String>,
    /// Where the outside reaches the server.
    pub public_url: Option<String>,
    /// How far customers' URLs may reach.
    pub reach: Reach,
    /// The dialect at `/`.
    pub root: Option<Dialect>,
    /// How much faster calls run.
    pub time_scale: NonZeroU32,
    /// Certificate and key, in PEM.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// From where VoxCore's diallers may connect; from anywhere if it is empty.
    pub voxcore_allow: Networks,
    /// Whether VoxCore's diallers need a key.
    pub voxcore_requires_key: bool,
}

impl Config {
    /// Reads what `args` name, and the environment.
    pub fn of_server(args: &ServeArgs) -> Outcome<Self> {
        let mut file = File::of(&args.house)?;
        file.listen = args.listen.or(file.listen);
        file.root = args.root.clone().or(file.root);
        file.public_url = args.public_url.clone().or(file.public_url);
        file.calls.time_scale = args.time_scale.or(file.calls.time_scale);
        let mut config = file.check()?;
        if args.model.llm.is_some() {
            config.model = args.model.clone();
        }
        Ok(config)
    }

    /// The same without what only a server needs.
    pub fn of_house(args: &HouseArgs) -> Outcome<Self> {
        File::of(args)?.check()
    }

    /// Reads a file alone, and says what is wrong with it.
    pub fn of_file(path: &Path) -> Outcome<Self> {
        File::read(path)?.check()
    }
}

impl File {
    fn of(args: &HouseArgs) -> Outcome<Self> {
        let mut file = args.config.as_deref().map_or_else(|| Ok(Self::default()), Self::read)?;
        file.take(std::env::vars().filter(|(name, _)| name.starts_with(PREFIX) || name.starts_with(OTEL)).collect())?;
        file.data = args.data.clone().or(file.data);
        file.postgres = args.postgres.clone().or(file.postgres);
        Ok(file)
    }

    fn read(path: &Path) -> Outcome<Self> {
        let unusable = |error: &dyn std::fmt::Display| Failure::new(format_args!("{}: {error}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| unusable(&error))?;
        toml::from_str(&text).map_err(|error| {
            let line = error.span().map(|span| text[..span.start.min(text.len())].lines().count().max(1));
            let place = line.map(|line| format!("line {line}: ")).unwrap_or_default();
            unusable(&format_args!("{place}{}", error.message()))
        })
    }

    /// What the environment says.
    fn take(&mut self, variables: BTreeMap<String, String>) -> Outcome<()> {
        for (name, value) in variables {
            let wrong = || Failure::usage(format_args!("{name} cannot be understood"));
            let list = || value.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect();
            match name.strip_prefix(PREFIX).unwrap_or(&name) {
                "CALLER_ID" => self.caller_id = Some(value),
                "CALLS_MAX" => self.calls.max = Some(value.parse().map_err(|_| wrong())?),
                "CORS" => self.cors = list(),
                "DATA" => self.data = Some(value.into()),
                "LISTEN" => self.listen = Some(value.parse().map_err(|_| wrong())?),
                "POSTGRES" => self.postgres = Some(value),
                "PUBLIC_URL" => self.public_url = Some(value),
                "ROOT" => self.root = Some(value),
                "WEBHOOKS_ALLOW" => self.webhooks.allow = list(),
                // OpenTelemetry's own names.
                "OTEL_EXPORTER_OTLP_ENDPOINT" => self.telemetry.otlp_endpoint = Some(value),
                "OTEL_EXPORTER_OTLP_HEADERS" => self.telemetry.headers = Some(value),
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" => self.telemetry.traces_endpoint = Some(value),
                "OTEL_SERVICE_NAME" => self.telemetry.service = Some(value),
                // Others are other parts' own.
                _ => {}
            }
        }
        Ok(())
    }

    fn check(self) -> Outcome<Config> {
        let caller_id = self.caller_id.as_deref().map(str::parse).transpose();
        let caller_id = caller_id.map_err(|error| Failure::during("caller_id", &error))?;
        let reach = Reach::public_and(self.webhooks.allow.iter().map(String::as_str));
        let reach = reach.map_err(|error| Failure::during("webhooks.allow", &error))?;
        let voxcore_allow = Networks::parse(self.voxcore.allow.iter().map(String::as_str));
        let voxcore_allow = voxcore_allow.map_err(|error| Failure::during("voxcore.allow", &error))?;
        let public_url = self.public_url.map(|url| url.trim_end_matches('/').to_owned());
        if public_url.as_deref().is_some_and(|url| !url.starts_with("http://") && !url.starts_with("https://")) {
            return Err(Failure::usage("public_url is not http:// or https://"));
        }
        let collector = self.telemetry.check()?;
        let model = match self.model {
            None => ModelArgs::default(),
            Some(ModelFile { key_env, name, url }) => {
                let llm: LlmName =
                    name.parse().map_err(|error| Failure::usage(format_args!("model.name is {error}")))?;
                ModelArgs { llm: Some(llm), llm_key_env: key_env, llm_url: url }
            }
        };
        let listen = match self.listen {
            Some(listen) => listen,
            None => LISTEN_DEFAULT.parse().map_err(|_| Failure::new("the default port is none"))?,
        };
        Ok(Config {
            caller_id,
            calls_max: self.calls.max,
            collector,
            calls_max_per_tenant: self.calls.max_per_tenant,
            cors: self.cors,
            data: self.data.unwrap_or_else(|| DATA_DEFAULT.into()),
            drain: self.calls.drain_seconds.map_or(DRAIN_DEFAULT, Duration::from_secs),
            listen,
            model,
            postgres: self.postgres,
            public_url,
            reach,
            root: self.root.as_deref().map(dialect).transpose()?,
            time_scale: self.calls.time_scale.unwrap_or(NonZeroU32::MIN),
            tls: self.tls.map(|tls| (tls.certificate, tls.key)),
            voxcore_allow,
            voxcore_requires_key: self.voxcore.require_key,
        })
    }
}

impl TelemetryFile {
    fn check(self) -> Outcome<Option<Collector>> {
        let wrong = |error: offhook::Error| Failure::during("telemetry", &error);
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let collector = match (given(self.traces_endpoint), given(self.otlp_endpoint)) {
            (Some(url), _) => Collector::at_url(url),
            (None, Some(endpoint)) => Collector::at(&endpoint),
            (None, None) => return Ok(None),
        };
        let mut collector = collector.map_err(wrong)?;
        if let Some(headers) = given(self.headers) {
            collector = collector.with_headers(&headers).map_err(wrong)?;
        }
        if let Some(service) = given(self.service) {
            collector.service = service;
        }
        Ok(Some(collector))
    }
}

/// The dialect of that name.
pub fn dialect(name: &str) -> Outcome<Dialect> {
    let names = ["dialro", "voxstack", "voxcore", "dialflo"];
    let known = names.contains(&name).then(|| serde_json::from_value(name.into()).ok()).flatten();
    known.ok_or_else(|| Failure::usage(format_args!("{name} is no dialect: {}", names.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_a_configuration_with_everything_in_it() {
        let shown: File = toml::from_str(SAMPLE).unwrap();
        shown.check().unwrap();
        // All that is commented out is sound as well.
        let all: String =
            SAMPLE.lines().map(|line| line.strip_prefix("#: ").unwrap_or(line)).collect::<Vec<_>>().join("\n");
        let all: File = toml::from_str(&all).unwrap();
        assert!(all.tls.is_some() && all.model.is_some() && all.caller_id.is_some() && all.postgres.is_some());
        all.check().unwrap();
    }

    #[test]
    fn the_environment_goes_before_the_file() {
        let mut file: File = toml::from_str("root = \"dialro\"\n[webhooks]\nallow = [\"10.0.0.0/8\"]").unwrap();
        let variables =
            [("OFFHOOK_ROOT", "voxcore"), ("OFFHOOK_WEBHOOKS_ALLOW", "127.0.0.1/32, ::1"), ("OFFHOOK_X", "")];
        file.take(variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into()).unwrap();
        assert_eq!(file.webhooks.allow, ["127.0.0.1/32", "::1"]);
        let config = file.check().unwrap();
        assert_eq!(config.root, Some(Dialect::VoxCore));
        config.reach.check("http://127.0.0.1:9/x").unwrap();
        let refused = File::default().take([("OFFHOOK_LISTEN".to_owned(), "nowhere".to_owned())].into());
        assert_eq!(refused.unwrap_err().to_string(), "OFFHOOK_LISTEN cannot be understood");
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, message) in [
            ("root = \"other\"", "other is no dialect"),
            ("caller_id = \"0811\"", "caller_id"),
            ("public_url = \"calls.example.com\"", "public_url"),
            ("[webhooks]\nallow = [\"::/x\"]", "webhooks.allow"),
            ("[voxcore]\nallow = [\"dialler.example\"]", "voxcore.allow"),
            ("[model]\nname = \"gpt\"", "model.name"),
        ] {
            let file: File = toml::from_str(text).unwrap();
            let failure = file.check().unwrap_err().to_string();
            assert!(failure.contains(message), "{failure}");
        }
        assert!(toml::from_str::<File>("unknown = 1").is_err());
    }
}
