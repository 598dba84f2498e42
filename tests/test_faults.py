"""Every fault that was found from public trackers, by mathematics or by attack, with the test that holds it mended.

`python -m tests.test_faults` runs the minimal inputs of all of them, those that need long included.
"""

import ast
import subprocess
import sys

import pytest

from tests.test_project import ROOT

# Number of the fault, what it was, and the file and the test that holds the right value.
FAULTS = {
    "1": ("weights left on the meta device", "reading", "test_a_model_is_never_changed"),
    "1, its kind": ("any network, any sharing", "reading", "test_no_network_of_the_zoo_is_changed_and_all_its_layers"),
    "2": ("gradient of sharded weights", "reading", "test_sharded_weights_are_gathered_on_two_processes"),
    "3": ("dilation, stride, groups, transposed", "reading", "test_a_convolution_is_measured_as_it_is_applied"),
    "4": ("layers used without being called", "reading", "test_layers_that_are_used_without_being_called"),
    "5": ("photograph against annotation", "data", "test_a_photograph_of_another_size_than_its_annotation_says"),
    "5, turned": ("EXIF", "data", "test_a_mask_lies_on_its_object_also_where_the_photograph_is_stored_turned"),
    "6, 7, 8": ("MNIST empty, cut, another site's", "data", "test_a_damaged_file_of_mnist_is_named_with_a_remedy"),
    "9": ("another kernel called python3", "book", "test_the_kernel_is_the_interpreter_that_runs_the_command"),
    "10": ("relative folders", "command", "test_relative_folders_are_the_callers"),
    "11": ("hidden files beside records", "sweep", "test_hidden_files_beside_records_are_nobodys"),
    "12": ("two containers, one cache", "sweep", "test_two_machines_may_fill_one_file"),
    "13": ("two sweeps, one store", "sweep", "test_two_sweeps_on_one_store_train_every_trial_once"),
    "14": ("an example of one image", "reading", "test_an_image_of_one_needs_no_statistics"),
    "15": ("no iscrowd", "data", "test_an_object_that_says_nothing_of_crowds_is_none"),
    "17, 18": ("annotations by other tools", "data", "test_annotations_that_mean_nothing_are_named"),
    "19": (".DS_Store among photographs", "data", "test_hidden_files_are_no_photographs"),
    "21": ("parameters of a wrong type", "book", "test_parameters_are_refused_before_a_kernel_starts"),
    "22": ("executed notebook cut off", "book", "test_an_executed_notebook_that_is_cut_off_or_foreign"),
    "23": ("vmap", "laws", "test_vmap_is_a_loop"),
    "24": ("compiled whole", "laws", "test_it_compiles_without_a_break"),
    "25": ("λ by output of a transposed layer", "guidance", "test_coefficients_of_a_transposed_convolution"),
    "26": ("power iterations moved", "reading", "test_a_weight_that_is_computed_is_read_as_the_last_step_left_it"),
    "31": ("pruned filters", "reading", "test_a_loss_that_is_infinite_from_the_start_is_refused_by_name"),
    "33": ("quantised layers", "guidance", "test_what_cannot_be_read_is_refused_with_the_reason"),
    "35": ("frozen weights", "reading", "test_a_frozen_weight_is_said_and_a_tied_one_is_refused"),
    "37": ("8-bit locale", "command", "test_an_8_bit_locale_is_no_obstacle"),
    "39": ("read-only checkout", "command", "test_a_folder_that_cannot_be_written_is_said_in_a_line"),
    "40": ("repository ending in .git", "book", "test_the_projects_address_is_one_for_browsers"),
    "43": ("meta, lazy, float8, sparse", "reading", "test_what_has_no_numbers_is_named"),
    "43, examples": ("tuples and mappings", "reading", "test_an_example_may_be_several_arguments"),
    "44": ("Trainer's accumulation", "recipes", "test_a_step_of_trainer_is_the_oracles"),
    "44, siblings": ("Lightning", "recipes", "test_a_step_of_lightning_is_the_oracles"),
    "44, processes": ("two processes", "recipes", "test_a_step_of_trainer_on_two_processes_is_the_oracles"),
    "45": ("eval_loss", "recipes", "test_the_loss_of_an_evaluation_is_the_tasks_alone"),
    "46": ("chapters from any folder", "book", "test_a_chapter_runs_from_any_folder_as_jupyter_runs_it"),
    "47": ("a copy without its checkout", "command", "test_a_copy_without_its_checkout_is_not_at_hand"),
    "48, 49, 50": ("live cells that cannot start", "browser", "test_live_cells_say_why_python_cannot_start"),
    "48, policies": ("content policies", "browser", "test_live_cells_name_what_a_content_policy_must_allow"),
    "53": ("GPT-2", "reading", "test_gpt2_is_read_whole"),
    "55": ("LoRA", "reading", "test_an_adapter_is_refused_also_where_it_came_later"),
    "56": ("old weight_norm", "reading", "test_a_weight_that_is_computed_is_read_as_the_last_step_left_it"),
    "57": ("records merged or rewritten", "sweep", "test_other_writers_keep_the_description_or_are_named"),
    "57, columns": ("columns dropped", "sweep", "test_experiments_ask_for_their_columns_and_for_one_set_of_data"),
    "L1": ("Mahler measure at every scale", "reading", "test_the_mahler_measure_obeys_its_bounds_and_symmetries"),
    "L2": ("λ = 0", "guidance", "test_a_coefficient_of_zero_is_no_term_even_where_the_penalty_is_infinite"),
    "L3": ("Eq. 16", "theory", "test_the_completed_matrix_is_that_of_equations_16_and_17_block_by_block"),
    "L4 to L9, errata": ("checks on the pages", "book", "test_notebook_ran_to_its_end_at_quick"),
    "L10": ("checks at every step", "guidance", "test_guidance_compiles_whole_and_works_under_functional_transforms"),
    "L11": ("stacks of matrices", "guidance", "test_a_stack_is_guided_by_its_parts"),
    "L12": ("small inputs", "reading", "test_an_empty_batch_has_no_measure_and_a_matrix_beyond_memory_is_refused"),
    "R1": ("records as markup", "book", "test_nothing_that_a_record_says_can_become_markup"),
    "R2": ("a warning, built twice", "book", "test_two_builds_in_a_row_refuse_the_same_warning"),
    "R3, R11, R12": ("retracted pages, leftovers", "book", "test_a_page_that_is_retracted_is_gone_from_the_book"),
    "R4": ("a failing stack", "sweep", "test_a_stack_that_fails_leaves_the_others_alone"),
    "R4, interrupts": ("Ctrl-C", "sweep", "test_an_interrupt_ends_a_sweep_at_once_and_keeps_what_is_finished"),
    "R5": ("records that break the schema", "sweep", "test_validator_names_the_fault"),
    "R6": ("changed data", "data", "test_files_that_are_whole_but_not_the_published_ones_are_refused"),
    "R7": ("flipped bits", "sweep", "test_a_value_that_was_changed_is_found_wherever_it_is"),
    "R8": ("trials stored twice", "sweep", "test_validator_finds_doubled_trials_and_broken_files"),
    "R9": ("a program in a checkpoint", "training", "test_a_damaged_or_foreign_checkpoint_is_left_aside"),
    "R10": ("orphaned workers", "book", "test_a_killed_build_takes_its_workers_along"),
    "R13": ("stale pages", "book", "test_a_page_rests_on_the_modules_that_it_imports_and_on_no_comment"),
    "R14": ("the command line", "command", "test_bad_input_is_refused_in_a_line"),
    "R15": ("annotation files", "data", "test_an_annotation_file_that_is_none_is_named"),
    "R15, pictures": ("JPEG copies", "data", "test_too_few_or_other_pictures_are_named"),
    "R16": ("sizes and nodes", "reading", "test_sizes_are_whole_numbers"),
    "R17": ("licences", "command", "test_what_is_installed_may_stand_beside_an_mit_project"),
    "R17, actions": ("actions by commit", "command", "test_actions_are_pinned_by_commit"),
}


def named(file: str, beginning: str) -> list[str]:
    """The tests of a file whose names begin so."""
    tree = ast.parse((ROOT / "tests" / f"test_{file}.py").read_text(encoding="utf-8"))
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    return [f"tests/test_{file}.py::{name}" for name in functions if name.startswith(beginning)]


@pytest.mark.parametrize("number", FAULTS)
def test_every_fault_has_one_test(number):
    _, file, beginning = FAULTS[number]
    assert len(named(file, beginning)) == 1


if __name__ == "__main__":
    tests = [test for _, file, beginning in FAULTS.values() for test in named(file, beginning)]
    sys.exit(
        subprocess.run([sys.executable, "-m", "pytest", "-m", "slow or not slow", *dict.fromkeys(tests)]).returncode
    )
