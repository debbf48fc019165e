(component
  (core module $m
    (tag $e (param i32))
    (func (export "run") (result i32) try (result i32) (i32.const 1) catch $e end))
  (core instance $i (instantiate $m))
  (func $run (result u32) (canon lift (core func $i "run")))
  (instance $api (export "run" (func $run)))
  (export "field:run/legacy@1.0.0" (instance $api)))
