from cervix_jax.command.columns import aligned


def test_columns_are_as_wide_as_their_widest_cell_and_lines_end_with_text():
    assert aligned([["", "n"], ["nucleus", "12"], ["all", ""]]) == "         n\nnucleus  12\nall"
