# End-to-end tests: a shell script each, test <program>.<name> in ctest. A script gets the directory
# of the built programs and an empty directory to work in; exit code 77 = skipped.
function(kerf_script_test program name)
	cmake_parse_arguments(T "" "TIMEOUT" "TOOLS" ${ARGN})
	if(NOT TARGET kerf-${program})
		return()
	endif()
	if(NOT T_TIMEOUT)
		set(T_TIMEOUT 300)
	endif()
	set(tools)
	foreach(tool ${T_TOOLS})
		list(APPEND tools $<TARGET_FILE:${tool}>)
	endforeach()
	add_test(NAME ${program}.${name}
		COMMAND sh ${PROJECT_SOURCE_DIR}/tests/${program}/${name}.sh
			$<TARGET_FILE_DIR:kerf-${program}>
			${CMAKE_CURRENT_BINARY_DIR}/${program}.${name} ${tools}
		WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
	set_tests_properties(${program}.${name} PROPERTIES SKIP_RETURN_CODE 77
		TIMEOUT ${T_TIMEOUT})
endfunction()

add_executable(test_app_settings unit/app/settings.c ${PROJECT_SOURCE_DIR}/apps/app_settings.c)
target_include_directories(test_app_settings PRIVATE unit ${PROJECT_SOURCE_DIR}/apps)
target_compile_definitions(test_app_settings PRIVATE KERF_CONF="${PROJECT_SOURCE_DIR}/conf")
target_link_libraries(test_app_settings kerf_node kerf_source kerf_port PkgConfig::CUNIT)
add_test(NAME app.settings COMMAND test_app_settings)

# What the scripts of kerf-model compare results with.
add_executable(model_compare model/compare.c)
target_link_libraries(model_compare kerf_source m)
add_executable(model_top5 model/top5.c)
target_link_libraries(model_top5 PkgConfig::JANSSON)

kerf_script_test(model inspect)
kerf_script_test(model run TOOLS model_compare)
kerf_script_test(model profile)
kerf_script_test(model every_cut)
kerf_script_test(model usage)
kerf_script_test(model calibrate)
kerf_script_test(model photos TOOLS model_compare model_top5)

kerf_script_test(device memif)
kerf_script_test(device memif_huge)
kerf_script_test(device veth)
kerf_script_test(device killed_server)
kerf_script_test(device no_server)
kerf_script_test(device refusals)
kerf_script_test(lab virtual)
kerf_script_test(lab real)
kerf_script_test(lab refusals)
kerf_script_test(lab scenarios)
kerf_script_test(lab codecs)
kerf_script_test(lab explain)
kerf_script_test(lab jpeg)
kerf_script_test(lab large_result)
kerf_script_test(linkem bridge)
kerf_script_test(linkem memif)
kerf_script_test(linkem refusals)
# They share two cores and the clock with nobody.
set_tests_properties(device.memif device.memif_huge device.veth device.killed_server
	device.no_server lab.real lab.codecs lab.jpeg linkem.bridge linkem.memif PROPERTIES RUN_SERIAL ON)

add_test(NAME perf.regret
	COMMAND sh ${PROJECT_SOURCE_DIR}/tests/perf/regret.sh $<TARGET_FILE_DIR:kerf-perf-regret>
		${CMAKE_CURRENT_BINARY_DIR}/perf.regret $<TARGET_FILE:kerf-lab>
	WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
set_tests_properties(perf.regret PROPERTIES TIMEOUT 600)
add_test(NAME perf.paper_grid
	COMMAND sh ${PROJECT_SOURCE_DIR}/tests/perf/paper_grid.sh $<TARGET_FILE_DIR:kerf-perf-paper-grid>
		${CMAKE_CURRENT_BINARY_DIR}/perf.paper_grid
	WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
set_tests_properties(perf.paper_grid PROPERTIES TIMEOUT 300)

add_test(NAME perf.onnxruntime
	COMMAND sh ${PROJECT_SOURCE_DIR}/tests/perf/onnxruntime.sh $<TARGET_FILE_DIR:kerf-perf-engine>
		${CMAKE_CURRENT_BINARY_DIR}/perf.onnxruntime
	WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
set_tests_properties(perf.onnxruntime PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 600)

# The convolutions of our own for AVX2, which machines with AVX-512 have no use for.
add_test(NAME engine.ops_avx2 COMMAND test_engine_ops)
add_test(NAME engine.split_avx2 COMMAND test_engine_split)
set_tests_properties(engine.ops_avx2 engine.split_avx2 PROPERTIES TIMEOUT 300 ENVIRONMENT ONEDNN_MAX_CPU_ISA=AVX2)

# ONNX's own cases (Debian's libonnx-testdata): 628 of 1.12's 1,072 pass.
add_executable(conformance conformance/conformance.c)
target_link_libraries(conformance kerf_engine kerf_onnx_pb m)
add_test(NAME conformance COMMAND conformance /usr/share/libonnx-testdata/data -n 628)
set_tests_properties(conformance PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 300)
