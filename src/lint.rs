//! `taffrail lint`: mistakes in HPAs and in what belongs to them, found in files or in a cluster before they cost weeks.
//!
//! ```text
//! files   --> objects --> view, world --> rules --> findings --> text, github, json
//! cluster --> (trees      (who scales    (one table:          (silenced by annotations)
//!              with        and reads      id, why, fix,
//!              places)     whom)          examples)
//! ```
//!
//! Rules are functions of the documents; everything that touches the world is in `files` and in
//! [`crate::cluster::survey`]. Nothing is ever changed, in no file and in no cluster.

mod check;
mod files;
mod objects;
mod output;
mod page;
mod rule;
mod rules;
mod view;
mod world;

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use crate::cluster::connect::connect_as_user;
use crate::cluster::survey::{self, Question};
use crate::model::selector::Selector;

use self::check::Verdict;
use self::objects::{Read, Unread};
use self::page::Page;
use self::rule::Severity;
use self::world::{Answer, Beside, World};

/// What lint ends with when something is wrong with what was read.
const EXIT_FOUND: u8 = 1;

/// What it ends with when something could not be read, or there was nothing to check.
const EXIT_UNREAD: u8 = 2;

/// Find the mistakes in HPAs, RequestMetrics and what they scale
///
/// Reads files of Kubernetes objects, directories of them, or a cluster, and says what will not work or will hurt later:
/// where it stands, why it hurts, in the numbers of this very object, and what to write instead. Kinds that it does not
/// know are passed over, so a whole directory, a `kustomize build` or a `helm template` can be given to it. Scenarios of
/// taffrail-loadtest are read, too.
///
/// An annotation silences rules for its object: `taffrail.dev/lint-ignore: quantile-alone,window-long`.
///
/// Exit codes: 0 nothing wrong but notes, and warnings without --strict; 1 an error, or a warning with --strict; 2 a file
/// could not be read or there was nothing to check, whatever else was found.
#[derive(clap::Args, Clone, Debug)]
#[command(after_long_help = "Examples:
  taffrail lint deploy/
  kustomize build deploy/samples/users-and-shifts/base | taffrail lint -
  taffrail lint hpa.yaml requestmetrics.yaml --page users=metrics.txt
  taffrail lint --cluster -n shop
  taffrail lint --explain quantile-averaged

With --format json, one object: version (1), checked, passedOver and silenced (how many), findings and unread (lists).
A finding has rule, severity (error, warning or note), file, line and column (null for a cluster), object, field, what,
why and fix; what is unread has file, line and message.")]
pub struct Args {
    /// Files or directories (*.yaml, *.yml, *.json); `-` is standard input
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Read a cluster in place of files; nothing is changed there
    #[arg(long, conflicts_with = "files")]
    cluster: bool,

    /// The namespace that is read; that of the kubeconfig's context when not given
    #[arg(short, long, value_name = "NAME", requires = "cluster")]
    namespace: Option<String>,

    /// Read all namespaces
    #[arg(short = 'A', long, requires = "cluster", conflicts_with = "namespace")]
    all_namespaces: bool,

    /// The kubeconfig of the cluster; without it a pod's service account, $KUBECONFIG or ~/.kube/config
    #[arg(long, env = "TAFFRAIL_KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// The context of the kubeconfig
    #[arg(long, requires = "cluster")]
    context: Option<String>,

    /// A saved page of metrics of a RequestMetrics' pods, to check its histogram: curl POD:PORT/metrics > FILE; `-`
    /// is standard input
    #[arg(long = "page", value_name = "NAME=FILE", value_parser = page_flag)]
    pages: Vec<(String, PathBuf)>,

    /// How findings are printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,

    /// Let warnings fail as well
    #[arg(long)]
    strict: bool,

    /// Print all about one rule, with an example of the mistake and one without it
    #[arg(long, value_name = "RULE")]
    explain: Option<String>,

    /// Print every rule, with how bad it is
    #[arg(long)]
    list: bool,

    /// No colours on a terminal
    #[arg(long, env = "NO_COLOR", value_parser = clap::builder::FalseyValueParser::new())]
    no_color: bool,
}

/// How findings are printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Format {
    /// For people: with the line, and a mark below it.
    Text,
    /// Workflow commands, which GitHub shows at the lines of a pull request.
    Github,
    /// One object, for programs.
    Json,
}

/// `NAME=FILE`.
fn page_flag(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, file)) if !name.is_empty() && !file.is_empty() => {
            Ok((name.to_owned(), PathBuf::from(file)))
        }
        _ => Err("must be NAME=FILE, the name being that of a RequestMetrics".to_owned()),
    }
}

/// Runs the command and prints to `out`.
///
/// # Errors
/// When there is no way to the cluster, or nothing can be printed.
pub async fn run(args: &Args, out: &mut (impl Write + IsTerminal)) -> anyhow::Result<ExitCode> {
    if args.list {
        write!(out, "{}", output::text::list())?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(id) = &args.explain {
        let rule = rule::by_id(id)
            .with_context(|| format!("there is no rule {id}; taffrail lint --list prints all"))?;
        write!(out, "{}", output::text::explain(rule))?;
        return Ok(ExitCode::SUCCESS);
    }
    anyhow::ensure!(
        args.cluster || !args.files.is_empty(),
        "nothing to read: name files or directories, - for standard input, or --cluster"
    );
    let mut read = Read::default();
    let mut beside = Beside::default();
    if args.cluster {
        from_cluster(args, &mut read, &mut beside).await?;
    } else {
        files::read_all(&args.files, &mut read);
    }
    add_pages(args, &mut read, &mut beside);
    let verdict = check::check(&read, &beside);
    let text = match args.format {
        Format::Text => output::text::report(&read, &verdict, out.is_terminal() && !args.no_color),
        Format::Github => output::github::report(&read, &verdict),
        Format::Json => output::json::report(&read, &verdict)?,
    };
    out.write_all(text.as_bytes())?;
    Ok(exit(args, &read, &verdict))
}

fn exit(args: &Args, read: &Read, verdict: &Verdict) -> ExitCode {
    let is_unread = read.unread.iter().any(|unread| !unread.is_optional);
    if is_unread || verdict.checked == 0 {
        return ExitCode::from(EXIT_UNREAD);
    }
    let fails = |severity| rule::has(&verdict.findings, severity);
    if fails(Severity::Error) || (args.strict && fails(Severity::Warning)) {
        return ExitCode::from(EXIT_FOUND);
    }
    ExitCode::SUCCESS
}

/// Reads a cluster's objects, and what its adapter answers to each external metric of an HPA.
async fn from_cluster(args: &Args, read: &mut Read, beside: &mut Beside) -> anyhow::Result<()> {
    let cluster = connect_as_user(args.kubeconfig.as_deref(), args.context.as_deref()).await?;
    let namespace = match (&args.namespace, args.all_namespaces) {
        (_, true) => None,
        (Some(namespace), false) => Some(namespace.clone()),
        (None, false) => Some(cluster.namespace.clone()),
    };
    let found = survey::survey(&cluster.client, namespace.as_deref()).await;
    read.add_live(&found.objects);
    // Where there was no room for all, one that is missing may exist.
    if !read.is_full {
        beside.complete = found.complete;
    }
    read.unread
        .extend(found.refused.into_iter().map(|refused| Unread {
            source: "cluster".to_owned(),
            line: None,
            message: refused.message,
            is_optional: refused.is_optional,
        }));
    let questions = questions(&World::new(read, beside));
    let mut forbidden = BTreeSet::new();
    let asked = survey::ask(&cluster.client, questions).await;
    if 0 < asked.unasked {
        read.unread.push(Unread {
            source: "cluster".to_owned(),
            line: None,
            message: format!(
                "{} metrics of HPAs were not read: too many, or the adapter is slow; what it answers to them is not \
                 checked",
                asked.unasked
            ),
            is_optional: true,
        });
    }
    for (question, answered) in asked.answers {
        if answered.is_forbidden {
            forbidden.insert(question.namespace);
            continue;
        }
        beside.answers.push(Answer {
            namespace: question.namespace,
            metric: question.metric,
            selector: question.selector,
            outcome: answered.outcome,
            retry_after: answered.retry_after,
        });
    }
    read.unread.extend(forbidden.into_iter().map(|namespace| Unread {
        source: "cluster".to_owned(),
        line: None,
        message: format!(
            "no right to list metrics of external.metrics.k8s.io in namespace {namespace}; what the adapter answers is \
             not checked"
        ),
        is_optional: true,
    }));
    Ok(())
}

/// What the HPAs ask for, and the rates behind their quantiles.
fn questions(world: &World<'_>) -> Vec<Question> {
    let mut questions = Vec::new();
    for hpa in &world.hpas {
        let Some(namespace) = &hpa.known.object.namespace else {
            continue;
        };
        for metric in hpa
            .metrics
            .iter()
            .filter(|metric| metric.kind == "External")
        {
            let Some(sent) = &metric.sent else { continue };
            questions.push(Question {
                namespace: namespace.clone(),
                metric: metric.name.clone(),
                selector: sent.to_string(),
            });
            let service = metric.selected("service").filter(|_| metric.is_latency());
            if let Some(selector) =
                service.and_then(|name| Selector::parse(&format!("service={name}")).ok())
            {
                questions.push(Question {
                    namespace: namespace.clone(),
                    metric: "request_rate".to_owned(),
                    selector: selector.to_string(),
                });
            }
        }
    }
    questions.sort();
    questions.dedup();
    questions
}

/// Pages of services that nobody has are as bad as files that nobody has.
fn add_pages(args: &Args, read: &mut Read, beside: &mut Beside) {
    for (name, file) in &args.pages {
        let known = read
            .objects
            .iter()
            .any(|object| object.kind == "RequestMetrics" && object.name == *name);
        let page = files::bytes(file).map_err(|error| error.to_string());
        match page {
            Ok(bytes) if known => {
                beside.pages.insert(name.clone(), Page::new(bytes));
            }
            Ok(_) => read.unread.push(Unread::of_file(
                file,
                format!("no RequestMetrics {name} was read that this page could be of"),
            )),
            Err(error) => read.unread.push(Unread::of_file(file, error)),
        }
    }
}
