//! What is kept for a pod's next request serves nobody once the pod may have something else, and is dropped.

use crate::callers::pods::PodUid;

use super::*;

fn one() -> Pod {
    Pod::fixture("one", &[POD])
}

#[tokio::test(start_paused = true)]
async fn a_pod_whose_role_is_another_has_that_at_once() {
    let bench = with_pod();
    assert_eq!(bench.get(LEAF).await.0, 200);
    bench.tell(Event::Applied(one().annotated(ROLE, "batch")));
    assert_eq!(bench.get(LEAF).await.0, 404);
    assert_eq!(bench.get(LIST).await, (200, "batch".into()));
    assert_eq!(bench.get(&format!("{LIST}batch")).await.0, 200);
    bench.tell(Event::Applied(one().annotated(ROLE, "we b")));
    assert_eq!(bench.get(LEAF).await.0, 403);
    bench.tell(Event::Applied(one()));
    assert_eq!(bench.get(LEAF).await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn what_a_pod_may_have_no_more_is_held_by_nobody() {
    let bench = with_pod();
    assert_eq!(bench.get(LEAF).await.0, 200);
    let (uid, deadline) = (PodUid::new("one"), Instant::now() + BUDGET);
    let pod = Arc::new(one().annotated(ROLE, "web"));
    let Decision::Granted(grant) = bench.handler.roles.decide(&pod) else { panic!("no role") };
    let request = bench.handler.plan.request(&pod, &grant).unwrap();
    let credentials = bench.handler.broker.get(&uid, &request, deadline).await.unwrap().unwrap();
    let left = Arc::downgrade(&credentials);
    drop(credentials);
    bench.tell(Event::Applied(one()));
    // The broker has heard of it.
    bench.handler.broker.states().await;
    assert_eq!(left.strong_count(), 1, "the document that was made");
    bench.handler.worked_out.forget(&uid);
    assert_eq!(left.strong_count(), 0);
}
