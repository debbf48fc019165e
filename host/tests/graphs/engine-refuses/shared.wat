(component
  (core module $m
    (memory 1 1 shared)
    (func (export "run") (result i32) (i32.const 1)))
  (core instance $i (instantiate $m))
  (func $run (result u32) (canon lift (core func $i "run")))
  (instance $api (export "run" (func $run)))
  (export "field:run/shared@1.0.0" (instance $api)))
