//! Cases that need a clock that stands still, a real client, or a scene of their own: which test has them.

/// Numbers of cases, the file (or the directory of it) and the test that holds them.
type Held = (&'static [&'static str], &'static str, &'static str);

const HANDLER: &str = "agent/src/metadata/handler/tests.rs";
/// Below this directory.
const BROKER: &str = "agent/src/credentials/broker";
const SERVER: &str = "agent/src/metadata/server/tests.rs";
const DOCUMENTS: &str = "agent/src/metadata/documents/tests.rs";
const STS: &str = "agent/src/credentials/sts/tests.rs";
const REDIRECT: &str = "tests/tests/redirect.rs";
const CONTAINER: &str = "tests/tests/container.rs";
const CLIENTS: &str = "tests/tests/clients/main.rs";

pub(super) const ELSEWHERE: &[Held] = &[
    (&["T21"], HANDLER, "an_unknown_caller_gets_nothing_but_a_token"),
    (&["T22"], REDIRECT, "while_the_agent_is_dead_pods_are_refused_and_tokens_outlive_it"),
    (&["C14"], "tests/tests/sts.rs", "many_first_requests_at_once_are_one_call"),
    (&["C16"], DOCUMENTS, "json_readers_get_the_values_unchanged"),
    (&["C17"], DOCUMENTS, "a_long_token_is_written_whole"),
    (&["C19"], DOCUMENTS, "credentials_have_the_bytes_of_ec2"),
    (&["C20"], "tests/tests/watch.rs", "a_changed_annotation_changes_the_role"),
    (&["C21"], "tests/tests/watch.rs", "a_pod_that_gets_a_used_address_gets_nothing_else_with_it"),
    (&["I03", "E03", "F04"], CLIENTS, "every_client_finds_its_pods_role_and_region"),
    (&["E02"], BROKER, "a_refusal_is_remembered_for_45_seconds_and_not_repeated_unasked"),
    (&["E05"], HANDLER, "a_slow_sts_is_answered_with_ask_again_and_its_answer_is_kept"),
    (&["E07", "F06"], BROKER, "credentials_that_have_ended_are_never_served"),
    (&["E09"], HANDLER, "a_pod_that_the_watch_knows_in_time_is_served"),
    (&["E10"], HANDLER, "an_unknown_caller_gets_nothing_but_a_token"),
    (&["E11"], HANDLER, "a_connection_that_the_kernel_did_not_see_leave_a_pod_gets_nothing"),
    (&["E12"], "agent/src/credentials/advice/tests.rs", "limits_name_the_flag_that_mends_them"),
    (&["E13"], STS, "a_session_that_is_too_long_is_asked_for_an_hour_and_that_is_remembered"),
    (&["E15"], SERVER, "a_panic_is_that_requests_500_and_no_others"),
    (&["H09"], SERVER, "an_idle_connection_is_closed_after_a_minute_and_no_sooner"),
    (&["H11"], SERVER, "a_head_has_5_seconds_however_it_drips"),
    (&["F01", "F05"], BROKER, "sessions_of_an_hour_or_more_are_refreshed_at_30_to_35_minutes_left"),
    (&["B01", "B02", "B03", "B05"], REDIRECT, "every_way_to_the_metadata_service_is_redirected"),
    (&["B04"], "tests/tests/untouched.rs", "pods_reach_everything_but_the_metadata_service"),
    (&["K01", "K07"], CONTAINER, "sdks_get_their_pods_session_as_from_eks_own_agent"),
    (
        &["K02"],
        "agent/src/metadata/handler/tests/container.rs",
        "where_tokens_are_demanded_container_credentials_demand_an_authorization",
    ),
    (&["K04", "K05"], CONTAINER, "what_else_is_asked_there_is_refused_or_left_alone"),
    (&["B06"], REDIRECT, "the_node_and_its_host_network_pods_keep_the_real_service"),
];

/// Cases that no test has, each with its reason.
pub(super) const UNTESTED: &[(&[&str], &str)] = &[
    (
        &["F02"],
        "how often Java's SDK asks follows from F01: no answer has less than 25 minutes left",
    ),
    (&["F03"], "shows what clients do with an answer that F01 says is never given"),
    (&["K03"], "the token is not read: who asks is told by the connection, as everywhere"),
    (&["K06"], "the document has no more than the session, whose token STS does not bound"),
];
