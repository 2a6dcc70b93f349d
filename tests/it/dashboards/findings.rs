//! What the live set-up showed: the answer to every query of every board, rule and runbook, when all is well and in each
//! fault. It is set up once, whichever test asks first, and gone before any test looks at what was found. A phase that does
//! not come to what is expected is the last one: what is wrong is told at once, and not after the patience for all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use taffrail::clock;

use super::board::{Board, Variable, substituted};
use super::empty;
use super::pages::{HPA, NAMESPACE};
use super::stage::Stage;
use super::{boards, rules};
use crate::fixtures::prometheus_server::{PrometheusServer, Series};
use crate::rules::runbooks;

/// How long a phase may take until all is as expected. It takes some ten seconds: the window of the rates, and the time in
/// which targets that are gone become unknown.
const PATIENCE: Duration = Duration::from_secs(60);

const PAUSE: Duration = Duration::from_millis(500);

/// What Grafana would put for its own variables. Scrapes are a second apart here, and all has just begun.
const GRAFANAS: [(&str, &str); 2] = [("__rate_interval", "5s"), ("__range", "60s")];

/// The window that stands for days in steps of minutes and hours, which are too long for a test.
const SHORT_WINDOW: &str = "[2m:1s]";

/// What goes on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Phase {
    /// Everything works.
    Well,
    /// The pods and Redis are gone.
    TargetsLost,
    /// The adapter is gone too.
    AdapterLost,
}

/// Everything that was found.
pub(crate) struct Findings {
    /// Answers by phase and place, of the phases that were come to.
    answers: BTreeMap<Phase, BTreeMap<String, Vec<Series>>>,
    /// The options of each variable, by board and name.
    pub(super) options: BTreeMap<String, Vec<String>>,
    /// The pages of the adapter, when all was well and when there were failures to be counted.
    pub(super) own_pages: Vec<String>,
}

/// Expressions by place.
type Questions = BTreeMap<String, String>;

/// What was found. The first call takes as long as the set-up does; when that fails, it is not tried again.
pub(crate) fn findings() -> &'static Findings {
    static FINDINGS: OnceLock<Option<Findings>> = OnceLock::new();
    // On a thread of its own: the caller may be within a runtime.
    let found = FINDINGS.get_or_init(|| std::thread::spawn(find).join().ok());
    found
        .as_ref()
        .expect("a set-up, whose failure is told above")
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn find() -> Findings {
    let mut stage = Stage::set().await;
    let begun = clock::instant();
    let mut options = BTreeMap::new();
    let mut questions = questions_of_rules();
    questions.extend(questions_of_runbooks());
    for board in boards() {
        let chosen = choose(&stage.prometheus, &board, &mut options, begun).await;
        for (place, expr) in board.expressions() {
            questions.insert(place, substituted(&shortened(expr), &chosen));
        }
    }
    let mut answers = BTreeMap::new();
    let mut own_pages = Vec::new();
    for phase in Phase::ALL {
        match phase {
            Phase::Well => {}
            Phase::TargetsLost => stage.lose_targets().await,
            Phase::AdapterLost => stage.lose_adapter().await,
        }
        let (found, is_settled) = settle(&stage.prometheus, &questions, phase).await;
        answers.insert(phase, found);
        if phase != Phase::AdapterLost {
            own_pages.extend(stage.own_pages().await);
        }
        if !is_settled {
            break;
        }
    }
    Findings {
        answers,
        options,
        own_pages,
    }
}

impl Phase {
    /// In their order.
    pub(super) const ALL: [Self; 3] = [Self::Well, Self::TargetsLost, Self::AdapterLost];
}

impl Findings {
    /// The series of an answer that have a value: a query of a board by `BOARD: PANEL REF`, a rule by its name.
    pub(crate) fn answer(&self, phase: Phase, place: &str) -> &[Series] {
        self.of(phase)
            .get(place)
            .unwrap_or_else(|| panic!("nobody asked for {place}"))
    }

    /// Every place that was asked for in a phase, with its answer.
    pub(super) fn all(&self, phase: Phase) -> impl Iterator<Item = (&str, &[Series])> {
        let of_phase = self.of(phase).iter();
        of_phase.map(|(place, answer)| (place.as_str(), answer.as_slice()))
    }

    fn of(&self, phase: Phase) -> &BTreeMap<String, Vec<Series>> {
        self.answers.get(&phase).unwrap_or_else(|| {
            panic!("nobody came to {phase:?}, since the phase before is not what it should be")
        })
    }
}

/// The expressions of all rules, by the names of their series or alerts; further ones of a name get a number.
fn questions_of_rules() -> Questions {
    let mut questions = Questions::new();
    for rule in rules() {
        let mut place = rule.name.clone();
        let mut nth = 1;
        while questions.contains_key(&place) {
            nth += 1;
            place = format!("{} {nth}", rule.name);
        }
        questions.insert(place, shortened(&rule.expr));
    }
    questions
}

/// The queries of the runbooks as somebody types them who was called for [`HPA`] or the service of that name.
fn questions_of_runbooks() -> Questions {
    let typed = |query: &str| {
        let query = query.replace("$NS", NAMESPACE).replace("$HPA", HPA);
        query.replace("$SERVICE", HPA)
    };
    let queries = runbooks::queries().into_iter();
    queries
        .map(|(place, query)| (place, typed(&query)))
        .collect()
}

/// A text with shorter windows and looks back, and with alerts that need not have held for as long as they must.
pub(super) fn shortened(text: &str) -> String {
    let days = regex::Regex::new(r"\[\d+d:\w+\]").unwrap();
    let firing = r#"alertstate="firing""#;
    let text = text.replace(firing, r#"alertstate=~"pending|firing""#);
    let text = text.replace(" offset 1m", " offset 2s");
    days.replace_all(&text, SHORT_WINDOW).into_owned()
}

/// A value for each variable of a board, as somebody would choose it who looks at the HPA of [`HPA`].
async fn choose(
    prometheus: &PrometheusServer,
    board: &Board,
    options: &mut BTreeMap<String, Vec<String>>,
    begun: Instant,
) -> BTreeMap<String, String> {
    let grafanas = GRAFANAS.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut chosen = BTreeMap::from(grafanas);
    for variable in &board.templating.list {
        let value = if variable.is_query() {
            let found = options_of(prometheus, variable, &chosen, begun).await;
            let value = choice(variable, &found);
            options.insert(format!("{}: {}", board.name, variable.name), found);
            value
        } else {
            variable.query.clone()
        };
        chosen.insert(variable.name.clone(), value);
    }
    chosen
}

/// What Grafana would put for a variable with these options: all of them where it can, else the one we look at.
fn choice(variable: &Variable, found: &[String]) -> String {
    match &variable.all_value {
        Some(all) => all.clone(),
        None if variable.include_all => format!("({})", found.join("|")),
        None => {
            let mut looked_at = found
                .iter()
                .filter(|one| [HPA, NAMESPACE].contains(&one.as_str()));
            looked_at
                .next()
                .or(found.first())
                .cloned()
                .unwrap_or_default()
        }
    }
}

/// The options of a variable, once there are any. A label that nothing has stays without.
async fn options_of(
    prometheus: &PrometheusServer,
    variable: &Variable,
    chosen: &BTreeMap<String, String>,
    begun: Instant,
) -> Vec<String> {
    let (selector, label) = variable.label_values().unwrap();
    let selector = substituted(selector, chosen);
    let promql = format!("group by ({label}) (last_over_time({selector}[1h]))");
    loop {
        let series = prometheus.query(&promql, clock::now()).await;
        let found: BTreeSet<String> = series
            .iter()
            .map(|one| one.label(label).to_owned())
            .collect();
        let is_there = found.iter().any(|value| !value.is_empty());
        // Series of nobody's cluster have no such label, and Grafana then chooses nothing.
        if is_there || (!series.is_empty() && label == "cluster") || PATIENCE < begun.elapsed() {
            return found
                .into_iter()
                .filter(|value| !value.is_empty())
                .collect();
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Numbers that come to what the story says some scrapes after there is one, which is why they are waited for.
const LATE: [(Phase, &str, f64); 3] = [
    (Phase::TargetsLost, "fleet: Not scaling A", 2.0),
    (Phase::TargetsLost, "fleet: Metrics missing A", 3.0),
    // It has to go up and down three times.
    (Phase::AdapterLost, "fleet: Swinging A", 1.0),
];

/// All answers, once those are empty that should be, and no others, and late ones have come; or as they are when that takes too long, for the tests to
/// tell, and whether it did not.
async fn settle(
    prometheus: &PrometheusServer,
    questions: &Questions,
    phase: Phase,
) -> (BTreeMap<String, Vec<Series>>, bool) {
    let begun = clock::instant();
    loop {
        let mut answers = BTreeMap::new();
        let now = clock::now();
        for (place, promql) in questions {
            let mut series = prometheus.query(promql, now).await;
            series.retain(|one| !one.value().is_nan());
            answers.insert(place.clone(), series);
        }
        let is_expected = |(place, series): (&String, &Vec<Series>)| {
            empty::is_expected(phase, place, &questions[place])
                .is_none_or(|wanted| wanted == series.is_empty())
        };
        let has_come = |(_, place, wanted): &(Phase, &str, f64)| {
            let series = answers.get(*place);
            series.is_some_and(|series| series.iter().any(|one| one.value() == *wanted))
        };
        let mut late = LATE.iter().filter(|(of, ..)| *of == phase);
        let is_settled = answers.iter().all(is_expected) && late.all(has_come);
        if is_settled || PATIENCE < begun.elapsed() {
            return (answers, is_settled);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
