use super::*;

fn recording() -> Recording {
    Recording::new("test", &Capabilities::default())
}

#[test]
fn size_classes_waste_at_most_an_eighth() {
    for bytes in (1u64..40).map(|i| i * i * i * 997).chain([1, 4096, 4097, (1 << 20) + 1]) {
        let class = size_class(bytes);
        assert!(class >= bytes && class - bytes <= (bytes / 8).max(4096), "{bytes} in {class}");
        assert_eq!(size_class(class), class, "a class is its own class");
    }
}

#[test]
fn empty_and_oversized_tensors_are_refused() {
    let mut rec = recording();
    assert!(matches!(rec.scratch::<f32>("none", 0), Err(Error::InvalidArgument { .. })));
    assert!(matches!(rec.scratch::<f32>("huge", 1 << 30), Err(Error::Unsupported { .. })));
}

#[test]
fn reading_before_writing_is_refused() {
    let mut rec = recording();
    let a = rec.scratch::<f32>("a", 8).unwrap();
    let b = rec.scratch::<f32>("b", 8).unwrap();
    let error = rec.copy(a, 0, b, 0, 8).unwrap_err().to_string();
    assert!(error.contains("\"a\"") && error.contains("nothing has written"), "{error}");
    assert!(rec.download(a).is_err());
}

#[test]
fn constants_cannot_be_written_and_copies_are_bounded() {
    let mut rec = recording();
    let c = rec.constant("c", &[1.0f32; 8]).unwrap();
    let s = rec.scratch::<f32>("s", 4).unwrap();
    assert!(rec.clear(c).is_err());
    assert!(rec.copy(c, 0, s, 0, 8).is_err());
    assert!(rec.copy(c, usize::MAX, s, 0, 4).is_err());
    assert!(rec.copy(c, 4, s, 0, 4).is_ok());
}

#[test]
fn a_tensor_of_another_recording_is_refused() {
    let mut one = recording();
    let mut two = recording();
    let a = one.constant("a", &[0u32; 4]).unwrap();
    assert!(two.download(a).is_err());
}

#[test]
fn scratch_is_shared_when_lifetimes_are_apart() {
    let mut rec = recording();
    let input = rec.input::<f32>("in", 1 << 16).unwrap();
    let mut last = input;
    for i in 0..6 {
        let next = rec.scratch::<f32>(format!("s{i}"), 1 << 16).unwrap();
        rec.copy(last, 0, next, 0, 1 << 16).unwrap();
        last = next;
    }
    rec.download(last).unwrap();
    let plan = rec.plan();
    // A chain of copies needs two at a time.
    assert_eq!(plan.role_bytes(Role::Scratch), 2 << 18);
    assert_eq!(plan.role_bytes(Role::Input), 1 << 18);
    assert_eq!((plan.input_bytes, plan.output_bytes), (1 << 18, 1 << 18));
    assert_eq!(plan, rec.plan(), "planning is deterministic");
}

#[test]
fn in_pieces_inputs_make_way_and_results_stay_to_the_end() {
    let n = 1 << 16;
    let mut rec = recording();
    rec.in_pieces();
    let a = rec.input::<f32>("a", n).unwrap();
    let [b, c, d] = ["b", "c", "d"].map(|name| rec.scratch::<f32>(name, n).unwrap());
    rec.copy(a, 0, b, 0, n).unwrap();
    rec.download(b).unwrap();
    rec.copy(b, 0, c, 0, n).unwrap();
    rec.copy(c, 0, d, 0, n).unwrap();
    rec.download(d).unwrap();
    let plan = rec.plan();
    let slot = |t: Tensor<f32>| plan.slot(t.erase()).unwrap();
    assert!(slot(c) == slot(a) && slot(b) != slot(d) && slot(d) != slot(c), "{plan:?}");
    let bytes = [Role::Input, Role::Scratch, Role::Upload, Role::Readback].map(|role| plan.role_bytes(role));
    assert_eq!(bytes, [1 << 18, 2 << 18, 1 << 14, size_class((1 << 14) + STATUS_BYTES)]);
    assert!(plan.uploads.is_empty() && plan.downloads.is_empty());
}

#[test]
fn tensors_alive_together_never_share() {
    let mut rec = recording();
    let a = rec.scratch::<f32>("a", 1024).unwrap();
    let b = rec.scratch::<f32>("b", 1024).unwrap();
    let c = rec.scratch::<f32>("c", 2048).unwrap();
    rec.clear(a).unwrap();
    rec.clear(b).unwrap();
    rec.copy(a, 0, c, 0, 1024).unwrap();
    rec.copy(b, 0, c, 1024, 1024).unwrap();
    let plan = rec.plan();
    let slots: Vec<_> = [a.erase(), b.erase(), c.erase()].map(|t| plan.slot(t).unwrap()).into();
    assert_eq!(slots.iter().collect::<std::collections::BTreeSet<_>>().len(), 3);
}

#[test]
fn slices_cover_every_workgroup_once() {
    let mut rec = recording();
    let y = rec.scratch::<u32>("y", 4096).unwrap();
    for (groups, work) in [(1, 1), (4, SLICE_WORK * 9), (1000, SLICE_WORK * 7 + 1), (70_000, 5), (10, SLICE_WORK)] {
        let params = crate::kernel::fill::Params { n: 4096, value: 0 };
        let d = crate::kernel::fill::dispatch(params, crate::kernel::fill::Args { y }, groups).work(work);
        let slices: Vec<_> = rec.slices(&d).collect();
        let mut next = 0;
        for (first, count, share) in &slices {
            assert!(*first == next && *count > 0, "{slices:?}");
            assert!(*share <= SLICE_WORK * 2 || groups < 10, "{slices:?}");
            next += count;
        }
        assert_eq!(next, groups);
    }
}
