//! What a sample app is told: flags, each with its environment variable. It only reads and bounds them.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::scenario::App;

/// How the sample app behaves.
#[derive(Debug, Clone, clap::Args)]
pub struct Config {
    /// Requests worked on at once; others wait their turn
    #[arg(long, env = "APP_WORKERS", default_value_t = 4)]
    pub workers: usize,

    /// Requests that may wait; others get a 503
    #[arg(long, env = "APP_QUEUE", default_value_t = 512)]
    pub queue: usize,

    /// Mean service time, without waiting for a worker
    #[arg(long, env = "APP_SERVICE_TIME", default_value = "60ms", value_parser = humantime::parse_duration)]
    pub service_time: Duration,

    /// Coefficient of variation of the service time, which is lognormal: 0 is constant, 1 already has a heavy tail
    #[arg(long, env = "APP_SERVICE_CV", default_value_t = 0.8)]
    pub service_cv: f64,

    /// Share of the service time that is CPU really burned, between 0 and 1; the rest is waiting
    #[arg(long, env = "APP_CPU_SHARE", default_value_t = 0.03)]
    pub cpu_share: f64,

    /// Seed of the service times: equal seeds give equal times in order of arrival
    #[arg(long, env = "APP_SEED", default_value_t = 1)]
    pub seed: u64,

    /// How long after the start the app says that it is ready
    #[arg(long, env = "APP_STARTUP_DELAY", default_value = "0s", value_parser = humantime::parse_duration)]
    pub startup_delay: Duration,

    /// How long requests under way may take after SIGTERM
    #[arg(long, env = "APP_DRAIN_TIMEOUT", default_value = "20s", value_parser = humantime::parse_duration)]
    pub drain_timeout: Duration,

    /// Never say that it is ready, as a version does that cannot start
    #[arg(long, env = "APP_NEVER_READY")]
    pub never_ready: bool,

    /// Share of the requests that are answered with a 500 after their work, between 0 and 1
    #[arg(long, env = "APP_FAIL_SHARE", default_value_t = 0.0)]
    pub fail_share: f64,

    /// Version, shown as a label of the metric `app_info`
    #[arg(long, env = "APP_VERSION", default_value = "v1.0")]
    pub app_version: String,

    /// Service that every request calls before it is answered, as HOST:PORT; the worker waits for it
    #[arg(long, env = "APP_DOWNSTREAM", value_name = "HOST:PORT")]
    pub downstream: Option<String>,

    /// Connections kept to the downstream; calls above it wait, and their wait counts into their timeout
    #[arg(long, env = "APP_DOWNSTREAM_CONNECTIONS", default_value_t = 8)]
    pub downstream_connections: usize,

    /// How long a call to the downstream may take; after that the request is answered with a 503
    #[arg(long, env = "APP_DOWNSTREAM_TIMEOUT", default_value = "1s", value_parser = humantime::parse_duration)]
    pub downstream_timeout: Duration,

    /// Value that the header X-Auth-Token must have, on everything but the probes
    #[arg(long, env = "APP_AUTH_TOKEN", hide_env_values = true)]
    pub auth_token: Option<Secret>,

    /// File with that value, as a mounted Secret has it; read once, at the start, without a line break at its end
    #[arg(
        long,
        env = "APP_AUTH_TOKEN_FILE",
        value_name = "FILE",
        conflicts_with = "auth_token"
    )]
    pub auth_token_file: Option<PathBuf>,

    /// Bearer token that must be given, on everything but the probes
    #[arg(long, env = "APP_BEARER", hide_env_values = true)]
    pub bearer: Option<Secret>,

    /// Redis server in which each visit is counted (INCR visits); none are counted without it
    #[arg(long, env = "REDIS_HOST")]
    pub redis_host: Option<String>,

    /// Port of the Redis server
    #[arg(long, env = "REDIS_PORT", default_value_t = 6379)]
    pub redis_port: u16,

    /// User of the Redis server
    #[arg(long, env = "REDIS_USERNAME")]
    pub redis_username: Option<String>,

    /// Password of the Redis server
    #[arg(long, env = "REDIS_PASSWORD", hide_env_values = true)]
    pub redis_password: Option<Secret>,
}

impl Default for Config {
    /// The same values as the flags have.
    fn default() -> Self {
        Self {
            workers: 4,
            queue: 512,
            service_time: Duration::from_millis(60),
            service_cv: 0.8,
            cpu_share: 0.03,
            seed: 1,
            startup_delay: Duration::ZERO,
            drain_timeout: Duration::from_secs(20),
            never_ready: false,
            fail_share: 0.0,
            app_version: "v1.0".to_owned(),
            downstream: None,
            downstream_connections: 8,
            downstream_timeout: Duration::from_secs(1),
            auth_token: None,
            auth_token_file: None,
            bearer: None,
            redis_host: None,
            redis_port: 6379,
            redis_username: None,
            redis_password: None,
        }
    }
}

impl Config {
    /// With the secrets that it names files for.
    ///
    /// # Errors
    /// When such a file cannot be read, is not text, or is empty: an empty token would let everybody in.
    pub fn with_files_read(mut self) -> io::Result<Self> {
        let Some(file) = &self.auth_token_file else {
            return Ok(self);
        };
        let said =
            |what: &dyn fmt::Display| format!("--auth-token-file {}: {what}", file.display());
        let content = std::fs::read_to_string(file)
            .map_err(|error| io::Error::new(error.kind(), said(&error)))?;
        let token = content.strip_suffix('\n').unwrap_or(&content);
        if token.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                said(&"it is empty"),
            ));
        }
        self.auth_token = Some(Secret(token.to_owned()));
        Ok(self)
    }
}

/// A value that does not print.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The value itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it is what was given, in a time that tells nothing of how much of it was right.
    pub(super) fn is(&self, given: &[u8]) -> bool {
        let secret = self.0.as_bytes();
        let differences = secret.iter().zip(given).map(|(own, given)| own ^ given);
        // The compiler must not end this at the first difference.
        let differs = differences.fold(0, |differs, difference| {
            std::hint::black_box(differs | difference)
        });
        secret.len() == given.len() && differs == 0
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self(value)
    }
}

impl FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(value: &str) -> Result<Self, Self::Err> {
        Ok(Self(value.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// The flags that make a process behave as a scenario says of a pod, where time runs `speed` times as fast: it is ready
/// so much earlier, and serves as fast as ever. Its token, its Redis and its address are for whoever starts it.
#[must_use]
pub fn flags(app: &App, speed: f64) -> Vec<String> {
    let micros = |span: Duration| format!("{}us", span.as_micros());
    let mut flags = vec![
        format!("--workers={}", app.workers),
        format!("--queue={}", app.queue),
        format!("--service-time={}", micros(*app.service_time)),
        format!("--service-cv={}", app.service_cv),
        format!("--cpu-share={}", app.cpu_share),
        format!("--drain-timeout={}", micros(*app.drain)),
        format!("--app-version={}", app.version),
    ];
    flags.push(match app.startup {
        Some(startup) => format!("--startup-delay={}", micros(startup.div_f64(speed))),
        None => "--never-ready".to_owned(),
    });
    if let Some(calls) = &app.calls {
        flags.extend([
            format!("--downstream={}", calls.service),
            format!("--downstream-connections={}", calls.connections),
            format!("--downstream-timeout={}", micros(*calls.timeout)),
        ]);
    }
    flags
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        config: Config,
    }

    #[test]
    fn the_defaults_of_flags_and_of_code_are_the_same() {
        let flags = Flags::try_parse_from(["app"]).unwrap();
        assert_eq!(
            format!("{:?}", flags.config),
            format!("{:?}", Config::default())
        );
    }

    #[test]
    fn secrets_do_not_print() {
        let flags = Flags::try_parse_from(["app", "--auth-token", "hush", "--redis-password=hush"])
            .unwrap();
        assert_eq!(flags.config.auth_token.as_ref().unwrap().expose(), "hush");
        assert!(!format!("{:?}", flags.config).contains("hush"));
    }

    #[test]
    fn a_secret_is_what_it_is_and_nothing_shorter_or_longer() {
        let secret = Secret("&^@$".to_owned());
        assert!(secret.is(b"&^@$"));
        for other in ["", "&", "&^@", "&^@$$", "&^@!", "x^@$"] {
            assert!(!secret.is(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn a_token_is_read_from_its_file_and_an_empty_one_lets_nobody_in() {
        let dir = tempfile::tempdir().unwrap();
        let read = |content: &str| {
            let file = dir.path().join("token");
            std::fs::write(&file, content).unwrap();
            let config = Config {
                auth_token_file: Some(file),
                ..Config::default()
            };
            config.with_files_read()
        };
        for content in ["&^@$", "&^@$\n"] {
            let config = read(content).unwrap();
            assert_eq!(config.auth_token.unwrap().expose(), "&^@$");
        }
        for content in ["", "\n"] {
            let said = read(content).unwrap_err().to_string();
            assert!(said.contains("it is empty"), "{said}");
        }
        let missing = Config {
            auth_token_file: Some(dir.path().join("none")),
            ..Config::default()
        };
        let said = missing.with_files_read().unwrap_err().to_string();
        assert!(
            said.contains("--auth-token-file") && said.contains("none"),
            "{said}"
        );
        assert!(Flags::try_parse_from(["app", "--auth-token=a", "--auth-token-file=b"]).is_err());
    }
}
