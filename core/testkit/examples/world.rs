use offhook_testkit::fates::Family;
use offhook_testkit::sim::{self, Simulation};
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let seed: u64 = args[1].parse().unwrap();
    let calls: u64 = args[2].parse().unwrap();
    let families = args[3].split(',').filter_map(|n| Family::ALL.into_iter().find(|f| f.name() == n)).collect();
    let only: Option<u64> = args.get(4).map(|w| w.parse().unwrap());
    let s = Simulation { calls, families, mutation: None, seed };
    let t0 = std::time::Instant::now();
    let mut tally = sim::Tally::default();
    let mut kinds = std::collections::BTreeMap::<String, (u64, u64)>::new();
    for w in 0..s.worlds() {
        if only.is_some_and(|o| o != w) {
            continue;
        }
        let r = sim::run(s.plan(w));
        for v in &r.violations {
            let k: String = v.problem.chars().filter(|c| !c.is_ascii_digit()).take(34).collect();
            let e = kinds.entry(k).or_insert((0, w));
            e.0 += 1;
        }
        tally.add(w, &r);
        if only.is_some() && !r.violations.is_empty() {
            let rep = sim::shrink(s.plan(w)).unwrap();
            println!("{:#?}", rep.plan);
            println!("faults {:#?}", rep.report.faults);
            for (c, j) in &rep.report.journals {
                if let Ok(j) = offhook::journal::Journal::from_log(j) {
                    for e in j.entries {
                        if !matches!(e, offhook::journal::Entry::Start { .. }) {
                            println!("{c}: {e:?}");
                        }
                    }
                }
            }
            println!("VIOLATIONS {:#?} trials {}", rep.report.violations, rep.trials);
            for v in &r.violations {
                println!("orig {v}");
            }
        }
    }
    println!("{:#?}", tally.causes());
    for (k, v) in kinds {
        println!("{:6} first world {:6}  {k}", v.0, v.1);
    }
    let dt = t0.elapsed().as_secs_f64();
    println!(
        "{} calls {:.0}/s violations {} digest {}",
        tally.calls(),
        tally.calls() as f64 / dt,
        tally.violations(),
        tally.digest()
    );
}
