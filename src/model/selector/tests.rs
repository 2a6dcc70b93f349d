//! Every row of the selector grammar, and what a selector selects.

use proptest::prelude::*;

use super::*;

/// Reads a selector that must be legal.
fn parsed(text: &str) -> Selector {
    Selector::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

/// Whether `text` selects a series with these labels.
fn selects(text: &str, labels: &[(&str, &'static str)]) -> bool {
    parsed(text).matches(|key| labels.iter().find(|(k, _)| *k == key).map(|(_, v)| *v))
}

#[test]
fn every_form_of_a_requirement_is_read() {
    let of = |values: &[&str]| values.iter().map(|v| (*v).to_owned()).collect();
    let rows: [(&str, Operator); 12] = [
        ("k=v", Operator::In(of(&["v"]))),
        ("k==v", Operator::In(of(&["v"]))),
        ("k in (v)", Operator::In(of(&["v"]))),
        ("k in (b,a,b)", Operator::In(of(&["a", "b"]))),
        ("k!=v", Operator::NotIn(of(&["v"]))),
        ("k notin (a,b)", Operator::NotIn(of(&["a", "b"]))),
        ("k", Operator::Exists),
        ("!k", Operator::DoesNotExist),
        ("k>7", Operator::GreaterThan(7)),
        ("k<7", Operator::LessThan(7)),
        ("k=", Operator::In(of(&[""]))),
        ("k!=", Operator::NotIn(of(&[""]))),
    ];
    for (text, operator) in rows {
        let expected = Selector::new(vec![Requirement {
            key: "k".to_owned(),
            operator,
        }]);
        assert_eq!(parsed(text), expected, "{text:?}");
    }
}

#[test]
fn an_empty_selector_selects_everything() {
    for text in ["", "  ", "\t\r\n"] {
        assert_eq!(parsed(text), Selector::default());
        assert!(selects(text, &[]) && selects(text, &[("a", "b")]));
    }
}

#[test]
fn inequality_also_holds_where_the_key_is_absent() {
    assert!(selects("k!=v", &[]));
    assert!(selects("k notin (v)", &[]));
    assert!(selects("k notin (v)", &[("k", "w")]));
    assert!(!selects("k!=v", &[("k", "v")]));
}

#[test]
fn the_empty_string_is_a_value() {
    assert!(selects("k=", &[("k", "")]) && !selects("k=", &[]) && !selects("k=", &[("k", "v")]));
    assert!(selects("k in ()", &[("k", "")]) && !selects("k in ()", &[("k", "a")]));
    for text in ["k in (,a)", "k in (a,)", "k in (a,,a)", "k in ( , a )"] {
        assert_eq!(parsed(text).to_string(), "k in (,a)", "{text:?}");
    }
}

#[test]
fn keywords_are_names_where_a_key_or_a_value_is_due() {
    assert!(selects("in in (in)", &[("in", "in")]));
    assert!(selects(
        "notin notin (notin),in",
        &[("in", "x"), ("notin", "y")]
    ));
    assert!(selects("k=in", &[("k", "in")]));
    assert!(!selects("!in", &[("in", "x")]));
}

#[test]
fn the_same_key_twice_must_hold_twice() {
    assert!(selects("k!=a,k!=b", &[("k", "c")]));
    assert!(!selects("k!=a,k!=b", &[("k", "b")]));
}

#[test]
fn bounds_compare_whole_numbers_only() {
    assert!(selects("k>7", &[("k", "8")]) && !selects("k>7", &[("k", "7")]));
    assert!(selects("k<7", &[("k", "6")]) && !selects("k<7", &[("k", "six")]));
    assert!(!selects("k<7", &[]));
}

#[test]
fn white_space_is_free_between_tokens() {
    assert_eq!(
        parsed(" a = b ,\tc notin\n( d ,\r e ) , ! f , g > 3 ").to_string(),
        "a=b,c notin (d,e),!f,g>3"
    );
    assert_eq!(parsed("a=b,c in(d,e)").to_string(), "a=b,c in (d,e)");
}

#[test]
fn what_is_outside_the_grammar_is_refused_where_it_goes_wrong() {
    let rows = [
        ("a,", 2),
        (",a", 0),
        (",", 0),
        ("a,,b", 2),
        ("a b", 2),
        ("k in a", 5),
        ("k in", 4),
        ("k in (a", 7),
        ("k in (a b)", 8),
        ("k in (a))", 8),
        ("=v", 0),
        ("!", 1),
        ("!!k", 1),
        ("!k=v", 2),
        ("k=v=w", 3),
        ("k=(v)", 2),
        ("k=!v", 2),
        ("k===v", 3),
        ("k>", 2),
        ("k>five", 2),
        ("k>-5", 2),
        ("k<99999999999999999999", 2),
        ("(a)", 0),
        ("k>=5", 2),
    ];
    for (text, at) in rows {
        let error = Selector::parse(text).expect_err(text);
        assert_eq!(error.at, at, "{text:?}: {error}");
    }
}

#[test]
fn keys_and_values_are_those_a_label_can_have() {
    let name = "n".repeat(63);
    let prefix = [
        "p".repeat(63),
        "p".repeat(63),
        "p".repeat(63),
        "p".repeat(61),
    ]
    .join(".");
    assert_eq!(prefix.len(), 253);
    for legal in [
        name.clone(),
        format!("{prefix}/{name}"),
        "a.b/C_d-e.f".to_owned(),
        format!("k={name}"),
        "k=0.95".to_owned(),
    ] {
        parsed(&legal);
    }
    for illegal in [
        format!("{name}n"),
        format!("p{prefix}/k"),
        format!("k={name}v"),
        "-k".to_owned(),
        "k.".to_owned(),
        "a/b/c".to_owned(),
        "/k".to_owned(),
        "a/".to_owned(),
        "A.b/c".to_owned(),
        "a..b/c".to_owned(),
        "a-.b/c".to_owned(),
        "k=/path".to_owned(),
        "k=-v".to_owned(),
        "k=v_".to_owned(),
        "k=a:b".to_owned(),
        "k=\u{fc}".to_owned(),
        "k in (ok,not/ok)".to_owned(),
    ] {
        Selector::parse(&illegal).expect_err(&illegal);
    }
}

#[test]
fn length_and_number_of_requirements_are_bounded() {
    let most = vec!["k"; REQUIREMENTS_MAX].join(",");
    assert_eq!(parsed(&most).requirements().len(), REQUIREMENTS_MAX);
    let error = Selector::parse(&format!("{most},k")).expect_err("one too many");
    assert!(error.message.contains("requirements"), "{error}");
    let padded = |len: usize| format!("{:<len$}", "k");
    parsed(&padded(SELECTOR_BYTES_MAX));
    Selector::parse(&padded(SELECTOR_BYTES_MAX + 1)).expect_err("too long");
}

#[test]
fn an_error_repeats_little_of_a_long_token() {
    let error = Selector::parse(&"\u{fc}".repeat(2000)).expect_err("no label key");
    assert!(error.to_string().len() < 400, "{error}");
}

#[test]
fn requirements_are_printed_in_the_order_of_their_keys_as_kubernetes_does() {
    assert_eq!(
        parsed("service=web,quantile=0.95,route notin (readyz,healthz)").to_string(),
        "quantile=0.95,route notin (healthz,readyz),service=web"
    );
}

fn any_name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[A-Za-z0-9]([A-Za-z0-9._-]{0,8}[A-Za-z0-9])?",
        Just("in".to_owned()),
        Just("notin".to_owned()),
    ]
}

fn any_selector() -> impl Strategy<Value = Selector> {
    let value = prop_oneof![any_name(), Just(String::new())];
    let key = prop_oneof![
        any_name(),
        any_name().prop_map(|name| format!("example.org/{name}"))
    ];
    let values = proptest::collection::vec(value, 1..4);
    let operator = prop_oneof![
        values.clone().prop_map(Operator::In),
        values.prop_map(Operator::NotIn),
        Just(Operator::Exists),
        Just(Operator::DoesNotExist),
        (0..=i64::MAX).prop_map(Operator::GreaterThan),
        (0..=i64::MAX).prop_map(Operator::LessThan),
    ];
    let requirement = (key, operator).prop_map(|(key, operator)| Requirement { key, operator });
    proptest::collection::vec(requirement, 0..6).prop_map(Selector::new)
}

proptest! {
    #[test]
    fn what_is_printed_reads_back_the_same(selector in any_selector()) {
        prop_assert_eq!(Selector::parse(&selector.to_string()), Ok(selector));
    }

    #[test]
    fn any_text_is_read_or_refused_and_never_panics(text in any::<String>()) {
        if let Ok(selector) = Selector::parse(&text) {
            prop_assert_eq!(Selector::parse(&selector.to_string()), Ok(selector));
        }
    }

    #[test]
    fn any_tokens_are_read_or_refused_and_never_panic(text in "[ab,()=!<>in \t0-9/.\u{fc}-]{0,24}") {
        match Selector::parse(&text) {
            Ok(selector) => prop_assert_eq!(Selector::parse(&selector.to_string()), Ok(selector)),
            Err(error) => prop_assert!(error.at <= text.len()),
        }
    }
}
