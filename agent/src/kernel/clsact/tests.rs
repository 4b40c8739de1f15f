//! What the kernel says of filters, as messages.

use rtnetlink::packet_route::tc::TcHeader;

use super::*;

fn filter(priority: u32, handle: u32, name: &str) -> TcMessage {
    let mut message = TcMessage::default();
    message.header.handle = handle.into();
    message.header.info = priority << 16 | 3;
    let option = TcOption::Bpf(TcFilterBpfOption::ProgName(name.into()));
    message.attributes = vec![
        TcAttribute::Kind("bpf".into()),
        TcAttribute::Chain(0),
        TcAttribute::Options(vec![option]),
    ];
    message
}

/// What leads the filters of a priority.
fn lead(priority: u32) -> TcMessage {
    let mut message = TcMessage::default();
    message.header = TcHeader { info: priority << 16 | 3, ..TcHeader::default() };
    message.attributes = vec![TcAttribute::Kind("bpf".into()), TcAttribute::Chain(0)];
    message
}

fn in_chain(mut message: TcMessage, chain: u32) -> TcMessage {
    for attribute in &mut message.attributes {
        if let TcAttribute::Chain(number) = attribute {
            *number = chain;
        }
    }
    message
}

const OWN: u32 = 0x706f_0001;

#[test]
fn our_filter_is_known_by_priority_handle_and_a_name_that_is_no_others() {
    assert_eq!(own_handle(&filter(1, OWN, "forward")), Some(HANDLES[0]));
    assert_eq!(own_handle(&filter(1, OWN + 1, "forward")), Some(HANDLES[1]));
    assert_eq!(own_handle(&filter(2, OWN, "forward")), None);
    assert_eq!(own_handle(&filter(1, 1, "forward")), None);
    assert_eq!(own_handle(&filter(1, OWN, "")), Some(HANDLES[0]));
    assert_eq!(own_handle(&filter(1, OWN, "cil_to_netdev")), None);
    let mut of_other_kind = filter(1, OWN, "forward");
    of_other_kind.attributes.retain(|attribute| !matches!(attribute, TcAttribute::Options(_)));
    assert_eq!(own_handle(&of_other_kind), None);
}

#[test]
fn the_first_filter_is_the_first_with_a_handle_in_the_first_chain() {
    let ours = || filter(1, OWN, "forward");
    let first = [in_chain(filter(1, 1, "x"), 7), lead(1), ours(), filter(1, 1, "x")];
    assert!(Filters::of(&first).is_first());
    let behind = Filters::of(&[lead(1), filter(1, 1, "x"), ours()]);
    assert!(!behind.is_first());
    assert_eq!(behind.ours().collect::<Vec<_>>(), [HANDLES[0]]);
    assert!(!Filters::of(&[]).is_first());
}

#[test]
fn a_filter_overtakes_by_the_handle_that_is_free() {
    for handle in HANDLES {
        assert_ne!(other_than(handle), handle);
        assert_eq!(other_than(other_than(handle)), handle);
    }
}

#[test]
fn an_interface_that_went_is_told_from_a_refusal_and_the_hook_that_lacks_says_how_to_go_on() {
    let error = |code| TcError::IoError(io::Error::from_raw_os_error(code));
    assert!(refused("RTM_NEWTFILTER", "eni1", error(libc::ENODEV)).is_of_gone_interface());
    assert!(!refused("RTM_NEWTFILTER", "eni1", error(libc::EINVAL)).is_of_gone_interface());
    let said = no_hook(error(libc::ENOENT)).to_string();
    for word in ["clsact", "6.6", "CAP_NET_RAW", "--allow-missing-guards forward"] {
        assert!(said.contains(word), "{word} is missing in: {said}");
    }
}
