(component
  (core module $m
    
    (func (export "run") (result i32) (drop (i64.mul_wide_u (i64.const 1) (i64.const 2))) drop (i32.const 1)))
  (core instance $i (instantiate $m))
  (func $run (result u32) (canon lift (core func $i "run")))
  (instance $api (export "run" (func $run)))
  (export "field:run/wide@1.0.0" (instance $api)))
