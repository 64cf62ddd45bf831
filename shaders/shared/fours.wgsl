// Four fours an invocation of 256, from its first on in steps of SIDE below RUN. Eight invocations side by side have a
// run of 512 bytes, of which they take whole lines of 128 at a time: as few as a row of all would take on a GPU; and
// software drivers, whose vectors have four or eight invocations, find what they touch next beside what they touch now.
const SIDE: u32 = 8u;
const RUN: u32 = 32u;

fn first_four(group: u32, lid: u32) -> u32 {
    return group * 1024u + lid / SIDE * RUN + lid % SIDE;
}
