//! Schedules and heads against closed forms.

mod common;

use burn::tensor::{Tensor, TensorData};
use common::{device, flow, to_vec, ve, vp};
use vipaint_core::prior::Head;
use vipaint_core::schedule::{Betas, Schedule};

#[test]
fn vp_tables_are_the_literature_s() {
    // alphas_cumprod of DDPM's linear schedule at its ends: prod(1 - beta), computed in Python with 1000 betas.
    let linear = vp();
    let bar = |s: &Schedule, t: f64| s.level(t).alpha.powi(2);
    assert!((bar(&linear, 0.0) - 0.9999).abs() < 1e-9);
    assert!((bar(&linear, 999.0) - 4.035_830e-5).abs() < 1e-10);
    // Stable Diffusion's: its largest sigma / alpha is 14.6146 (k-diffusion prints it).
    let scaled = Schedule::vp(Betas::ScaledLinear { start: 0.00085, end: 0.012, steps: 1000 });
    assert!((scaled.top().ratio() - 14.6146).abs() < 1e-3);
    // Cosine: alpha_bar(t) = f(t) / f(0) in closed form, before the cap bites at the end.
    let cosine = Schedule::vp(Betas::Cosine { steps: 1000 });
    let f = |u: f64| ((u + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2).cos().powi(2);
    for i in [0, 10, 500, 900] {
        let want = f((f64::from(i) + 1.0) / 1000.0) / f(0.0);
        assert!((bar(&cosine, f64::from(i)) / want - 1.0).abs() < 1e-9, "step {i}");
    }
    let table = vec![0.9, 0.5, 0.1];
    let schedule = Schedule::vp(Betas::Table { alphas_cumprod: table.clone() });
    for (i, want) in table.iter().enumerate() {
        assert!((bar(&schedule, i as f64) - want).abs() < 1e-12);
    }
}

#[test]
fn levels_invert_and_grids_descend() {
    for schedule in [vp(), ve(), flow(), Schedule::Flow { shift: 3.0 }] {
        let grid = schedule.full_grid(17);
        assert_eq!(grid.len(), 17);
        assert_eq!((grid[0], grid[16]), (schedule.top(), schedule.bottom()));
        for pair in grid.windows(2) {
            assert!(pair[0].ratio() > pair[1].ratio(), "{schedule:?} does not descend");
        }
        for level in &grid[1..] {
            let again = schedule.level_at_ratio(level.ratio());
            assert!((again.t - level.t).abs() < 1e-9 * (1.0 + level.t), "{schedule:?}: {} {}", again.t, level.t);
        }
    }
}

#[test]
fn ve_grid_is_karras() {
    // Karras et al. (2022), eq. 5, at i = 9 of N = 18, with their defaults.
    let schedule = Schedule::Ve { sigma_min: 0.002, sigma_max: 80.0, rho: 7.0 };
    let (a, b) = (80f64.powf(1.0 / 7.0), 0.002f64.powf(1.0 / 7.0));
    let want = (a + 9.0 / 17.0 * (b - a)).powi(7);
    assert!((schedule.full_grid(18)[9].sigma / want - 1.0).abs() < 1e-12);
}

#[test]
fn schedules_survive_json() {
    for schedule in [vp(), ve(), flow()] {
        let text = serde_json::to_string(&schedule).unwrap();
        assert_eq!(serde_json::from_str::<Schedule>(&text).unwrap(), schedule, "{text}");
    }
}

/// Every head's own definition, applied to a known `x0` and `eps`, gives `x0` back.
#[test]
fn heads_recover_x0() {
    let device = device();
    let column = |v: &[f64]| {
        let values: Vec<f32> = v.iter().map(|x| *x as f32).collect();
        Tensor::<4>::from_data(TensorData::new(values, [v.len(), 1, 1, 1]), &device)
    };
    let (x0, eps) = ([0.7, -0.2, 1.3], [0.5, -1.4, 0.1]);
    for schedule in [vp(), ve(), flow()] {
        let levels = schedule.grid(schedule.level_at_ratio(5.0).t, schedule.level_at_ratio(0.2).t, 2);
        let each = |f: &dyn Fn(f64, f64, f64, f64) -> f64| -> Vec<f64> {
            (0..3).map(|i| f(x0[i], eps[i], levels[i].alpha, levels[i].sigma)).collect()
        };
        let z = column(&each(&|x, e, a, s| a * x + s * e));
        let raw: [(Head, Vec<f64>); 5] = [
            (Head::X0, each(&|x, _, _, _| x)),
            (Head::Eps, each(&|_, e, _, _| e)),
            (Head::V, each(&|x, e, a, s| a * e - s * x)),
            (Head::Score, each(&|_, e, _, s| -e / s)),
            (Head::Velocity, each(&|x, e, _, _| e - x)),
        ];
        for (head, raw) in raw {
            let got = to_vec(head.x0_hat(column(&raw), z.clone(), &levels));
            for (got, want) in got.iter().zip(x0) {
                // f32 with cancellation of at most z / alpha ~ 6 against x0 ~ 1
                assert!((f64::from(*got) - want).abs() < 1e-5, "{head:?} under {schedule:?}: {got} {want}");
            }
        }
    }
}
