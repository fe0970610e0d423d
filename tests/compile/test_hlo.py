"""The reader of compiled texts, on a text of known content."""

from cervix_jax.compile.hlo import Message, Module, phase_of

TEXT = """HloModule jit_step, is_scheduled=true

%fused_computation (param_0: f32[8,3]) -> f32[8,3] {
  %param_0 = f32[8,3]{1,0:T(8,128)} parameter(0)
  ROOT %multiply.1 = f32[8,3]{1,0:T(8,128)} multiply(%param_0, %param_0), metadata={op_name="jit(step)/augmentation/mul"}, backend_config={"window_config":{"estimated_cycles":"999"}}
}

%gathered (param_0: f32[400,3], param_1: s32[1000]) -> f32[1000,3] {
  %param_0 = f32[400,3]{1,0:T(8,128)} parameter(0)
  %param_1 = s32[1000]{0:T(1024)} parameter(1)
  ROOT %gather.1 = f32[1000,3]{1,0:T(8,128)} gather(%param_0, %param_1), offset_dims={1}
}

%body (p: (u32[], f32[8,3])) -> (u32[], f32[8,3]) {
  %p = (u32[]{:T(128)}, f32[8,3]{1,0:T(8,128)}) parameter(0)
  %gte.1 = f32[8,3]{1,0:T(8,128)} get-tuple-element(%p), index=1
  %fusion.9 = f32[8,3]{1,0:T(8,128)} fusion(%gte.1), kind=kLoop, calls=%fused_computation, backend_config={"window_config":{"estimated_cycles":"10"}}
  ROOT %tuple.1 = (u32[]{:T(128)}, f32[8,3]{1,0:T(8,128)}) tuple(%gte.1, %fusion.9)
}

%condition (p: (u32[], f32[8,3])) -> pred[] {
  %constant.1 = u32[] constant(3)
  %p = (u32[]{:T(128)}, f32[8,3]{1,0:T(8,128)}) parameter(0)
  %gte.2 = u32[]{:T(128)} get-tuple-element(%p), index=0
  ROOT %compare.1 = pred[]{:T(512)} compare(%gte.2, %constant.1), direction=LT
}

ENTRY %main_spmd (param.0: f32[8,3], param.1: f32[400,3], param.2: s32[1000]) -> f32[8,3] {
  %param.0 = f32[8,3]{1,0:T(8,128)} parameter(0), metadata={op_name="state[\\'params\\']"}
  %param.1 = f32[400,3]{1,0:T(8,128)} parameter(1)
  %param.2 = s32[1000]{0:T(1024)} parameter(2)
  %fusion.1 = f32[8,3]{1,0:T(8,128)(2,1)S(1)} fusion(%param.0), kind=kLoop, calls=%fused_computation, metadata={op_name="jit(step)/jvp()/mul"}, backend_config={"window_config":{"estimated_cycles":"100"}}
  %gather_fusion = f32[1000,3]{1,0:T(8,128)} fusion(%param.1, %param.2), kind=kCustom, calls=%gathered, metadata={op_name="jit(step)/jit(_augment)/gather"}
  %tuple.2 = (u32[]{:T(128)}, f32[8,3]{1,0:T(8,128)}) tuple(%param.2, %fusion.1)
  %while.1 = (u32[]{:T(128)}, f32[8,3]{1,0:T(8,128)}) while(%tuple.2), condition=%condition, body=%body
  %copy-start.1 = (f32[1000,3]{1,0:T(8,128)S(1)}, f32[1000,3]{1,0:T(8,128)}, u32[]{:S(2)}) copy-start(%gather_fusion), backend_config={}
  %copy-done.1 = f32[1000,3]{1,0:T(8,128)S(1)} copy-done(%copy-start.1)
  %copy.7 = f32[8,3]{0,1:T(8,128)} copy(%fusion.1), backend_config={"window_config":{"estimated_cycles":"7"}}
  %all-reduce.1 = (bf16[8,3]{1,0:T(8,128)}, /*index=1*/f32[64]{0:T(128)}) all-reduce(%fusion.1, %copy.7), channel_id=1, to_apply=%sum, metadata={op_name="jit(step)/transpose(jvp())/reduce_sum"}
  ROOT %add.1 = f32[8,3]{1,0:T(8,128)} fusion(%copy.7), kind=kLoop, calls=%fused_computation, metadata={op_name="jit(step)/optimiser/add"}, backend_config={"window_config":{"estimated_cycles":"1"}}
}
"""  # noqa: E501


def test_cycles_by_phase_count_loops_and_nothing_twice():
    assert Module(TEXT).cycles() == {
        "augmentation": 30,  # three rounds of 10, named by what the fusion holds
        "forward": 107,  # a copy that says nothing belongs to what it copies
        "backward": 0,
        "optimiser": 1,
        "rest": 0,
    }


def test_messages_gathers_and_what_has_no_estimate():
    module = Module(TEXT)
    assert module.messages() == [Message("all-reduce", 8 * 3 * 2 + 64 * 4, 1)]
    assert module.gathers() == [3000]
    assert module.without_estimate() == {"gather": {"count": 1, "bytes": 12000}}
    assert module.in_background() == {"count": 1, "bytes": 12002}


def test_phases_of_names():
    assert phase_of("jit(step)/augmentation/jit(_augment)/mul") == "augmentation"
    assert phase_of("jit(step)/transpose(jvp())/checkpoint/rematted_computation/mul") == "backward"
    assert phase_of("jit(step)/optimiser/jit(_where)/select_n") == "optimiser"
    assert phase_of("jit(step)/add") == ""
    assert Module(TEXT.replace("jvp()", "x"), "forward").cycles()["forward"] == 107
